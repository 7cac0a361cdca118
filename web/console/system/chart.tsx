// A chart over the last 15 minutes: uPlot, which draws on a canvas. The caption says in words what the lines show.

import { useEffect, useRef } from "preact/hooks";
import type UPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { StatsPoint } from "../../shared/schema.ts";
import { colorOf, isDark } from "../../shared/theme.ts";
import { tc } from "../i18n/texts.ts";

type Read = (point: StatsPoint) => number | null;
type Name = "claims_per_s" | "p50_s" | "p99_s";

interface ChartProps {
  title: string;
  points: StatsPoint[];
  series: readonly (readonly [Name, Read])[];
  unit: string;
}

const HEIGHT = 180;
const COLORS = ["--brand", "--open"];

export function Chart({ title, points, series, unit }: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot | null>(null);
  const data = dataOf(points, series);
  const present = useRef(data);
  present.current = data;
  useEffect(() => {
    let gone = false;
    void import("uplot").then(({ default: uPlot }) => {
      if (!gone && box.current) {
        plot.current = new uPlot(optionsOf(box.current.clientWidth, series, unit), present.current, box.current);
      }
    });
    const observer = new ResizeObserver(([entry]) =>
      plot.current?.setSize({ width: entry.contentRect.width, height: HEIGHT })
    );
    if (box.current) observer.observe(box.current);
    return () => {
      gone = true;
      observer.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [isDark.value]);
  useEffect(() => void plot.current?.setData(data), [points]);
  return (
    <figure class="card chart">
      <figcaption>
        <strong>{title}</strong> <span class="soft small">{captionOf(points, series, unit)}</span>
      </figcaption>
      <div ref={box} class="plot" aria-hidden="true" />
    </figure>
  );
}

function dataOf(points: StatsPoint[], series: ChartProps["series"]): UPlot.AlignedData {
  return [
    points.map((point) => Date.parse(point.at) / 1000),
    ...series.map(([, read]) => points.map(read)),
  ] as UPlot.AlignedData;
}

function captionOf(points: StatsPoint[], series: ChartProps["series"], unit: string): string {
  const texts = series.map(([name, read]) => {
    const values = points.map(read).filter((value): value is number => value !== null);
    if (!values.length) return `${tc(`stats.${name}`)}: –`;
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return `${tc(`stats.${name}`)}: ${
      tc("system.caption", { mean: mean.toFixed(1), most: Math.max(...values).toFixed(1), unit })
    }`;
  });
  return texts.join(" · ");
}

function optionsOf(width: number, series: ChartProps["series"], unit: string): UPlot.Options {
  const [text, line] = [colorOf("--soft"), colorOf("--line")];
  const axis = {
    stroke: text,
    grid: { stroke: line, width: 1 },
    ticks: { stroke: line, width: 1 },
    font: "11px Inter, sans-serif",
  };
  return {
    width,
    height: HEIGHT,
    cursor: { show: false },
    legend: { show: false },
    scales: { y: { range: (_, __, max) => [0, Math.max(1, max * 1.15)] } },
    axes: [axis, { ...axis, size: 52, values: (_, values) => values.map((value) => `${value} ${unit}`) }],
    series: [
      {},
      ...series.map(([name], i) => ({
        label: tc(`stats.${name}`),
        stroke: colorOf(COLORS[i]),
        width: 2,
        spanGaps: false,
      })),
    ],
  };
}
