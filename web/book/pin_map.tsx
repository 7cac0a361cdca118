// The map with a pin in its middle. The user moves the map to move the pin.

import { useRef } from "preact/hooks";
import { t } from "../shared/i18n/i18n.ts";
import type { CityMap } from "../shared/map.ts";
import { readStored, store } from "../shared/platform.ts";
import { Button } from "../shared/ui/parts.tsx";
import { Icon } from "../shared/ui/icons.tsx";
import { MapView } from "../shared/ui/map_view.tsx";
import { toast } from "../shared/ui/toast.tsx";
import { round, type Spot } from "./spot.ts";

export function PinMap({ spot, choose }: { spot: Spot | null; choose: (spot: Spot) => void }) {
  const map = useRef<CityMap | null>(null);
  const locate = () => {
    if (!navigator.geolocation) return toast(t("place.denied"));
    navigator.geolocation.getCurrentPosition(
      ({ coords }) => {
        const here = { lat: coords.latitude, lon: coords.longitude };
        choose(here);
        map.current?.map.jumpTo({ center: [here.lon, here.lat], zoom: 16 });
      },
      () => toast(t("place.denied")),
      { enableHighAccuracy: true, timeout: 10_000, maximumAge: 60_000 },
    );
  };
  return (
    <div class="map-frame pin-map">
      <MapView
        label={t("book.map")}
        ready={(city) => {
          map.current = city;
          const stored = readStored("spot")?.split(" ").map(Number);
          if (stored?.length === 2) city.map.jumpTo({ center: [stored[1], stored[0]], zoom: 15 });
          else city.map.jumpTo({ zoom: Math.max(14, city.map.getZoom()) });
          const note = () => {
            const { lat, lng } = city.map.getCenter();
            choose({ lat, lon: lng });
            store("spot", `${round(lat)} ${round(lng)}`);
          };
          city.map.on("moveend", note);
          note();
        }}
      />
      <span class="pin" aria-hidden="true">
        <Icon name="pin" size={40} />
      </span>
      <Button class="use-place" icon="locate" onClick={locate}>{t("book.use_my_place")}</Button>
      {spot && (
        <span class="sr-only" role="status">
          {t("book.pin_at", { lat: spot.lat.toFixed(4), lon: spot.lon.toFixed(4) })}
        </span>
      )}
    </div>
  );
}
