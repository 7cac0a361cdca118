// The layers of a track: the path, the place of the job, and where the technician was.

import { type CityMap, colorOf, type Layer, type Place, type Points } from "../../shared/map.ts";

export function addTrack(city: CityMap, job: Place, path: Place[]): Points {
  const lines = city.points("track", () => [
    {
      id: "track",
      type: "line",
      layout: { "line-cap": "round", "line-join": "round" },
      paint: { "line-color": colorOf("--brand"), "line-width": 4, "line-opacity": 0.8 },
    },
  ]);
  const places = city.points("track-job", () => [dot("track-job", "--open", 7)]);
  const marker = city.points("track-here", () => [dot("track-here", "--active", 8)]);
  if (path.length > 1) lines.set("path", { type: "LineString", coordinates: path });
  places.set("job", job);
  city.fit([...path, job], { animate: false });
  return marker;
}

function dot(id: string, color: string, radius: number): Layer {
  const paint = {
    "circle-radius": radius,
    "circle-color": colorOf(color),
    "circle-stroke-width": 2,
    "circle-stroke-color": colorOf("--card"),
  };
  return { id, type: "circle", paint };
}
