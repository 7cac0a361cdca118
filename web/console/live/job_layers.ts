// The layers of jobs on a map: a ring in the colour of the job's phase, with an edge that is wider for a chosen job.

import { colorOf, type Layer } from "../../shared/map.ts";

/** A size in pixels that grows with the zoom: `small` at zoom 10 and below, `large` at zoom 15 and above. */
const SIZE = (small: number, large: number) => ["interpolate", ["linear"], ["zoom"], 10, small, 15, large];

export function jobLayers(): Layer[] {
  const color = [
    "match",
    ["get", "phase"],
    "open",
    colorOf("--open"),
    "assigned",
    colorOf("--assigned"),
    "active",
    colorOf("--active"),
    colorOf("--closed"),
  ];
  return [
    {
      id: "jobs-edge",
      type: "circle",
      paint: {
        "circle-radius": ["case", ["get", "chosen"], 15, 9],
        "circle-color": color,
        "circle-opacity": 0.22,
      },
    },
    {
      id: "jobs",
      type: "circle",
      paint: {
        "circle-radius": SIZE(3, 6),
        "circle-color": colorOf("--card"),
        "circle-stroke-color": color,
        "circle-stroke-width": 3,
      },
    },
  ] as unknown as Layer[];
}
