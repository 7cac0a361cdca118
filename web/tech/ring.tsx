// A ring that runs out as an offer does, by the server's clock.

import { useEffect, useRef } from "preact/hooks";
import { clock, duration, serverNow } from "../shared/time.ts";
import { Icon } from "../shared/ui/icons.tsx";

/** The seconds until `ends`. A component that calls this is rendered again each second. */
export const secondsLeft = (ends: number) => Math.max(0, Math.ceil((ends - clock.value) / 1000));

const RADIUS = 52;
const AROUND = 2 * Math.PI * RADIUS;

/** A ring from `began` to `ends` (ms; null: nobody knows when it ends). The browser animates it by CSS, so no script runs for each frame. */
export function Ring({ ends, began }: { ends: number | null; began: number }) {
  const circle = useRef<SVGCircleElement>(null);
  useEffect(() => {
    if (ends === null || !circle.current) return;
    const part = Math.max(0, Math.min(1, (ends - serverNow()) / Math.max(1, ends - began)));
    const animation = circle.current.animate(
      [{ strokeDashoffset: AROUND * (1 - part) }, { strokeDashoffset: AROUND }],
      { duration: Math.max(1, ends - serverNow()), fill: "forwards" },
    );
    return () => animation.cancel();
  }, [ends]);
  return (
    <div class="offer-ring">
      <svg viewBox="0 0 120 120" aria-hidden="true">
        <circle cx="60" cy="60" r={RADIUS} class="ring-ground" />
        <circle ref={circle} cx="60" cy="60" r={RADIUS} class="ring-left" stroke-dasharray={AROUND} />
      </svg>
      <span class="number" aria-hidden="true">
        {ends === null ? <Icon name="bell" size={44} /> : <TimeLeft ends={ends} />}
      </span>
    </div>
  );
}

/** The seconds that are left, large; a longer time in words. */
function TimeLeft({ ends }: { ends: number }) {
  const left = secondsLeft(ends);
  return left < 600 ? <>{left}</> : <small>{duration(left)}</small>;
}
