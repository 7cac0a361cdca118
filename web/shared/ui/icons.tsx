// Icons: 24 by 24, drawn with the colour of the text. They are decoration: the text beside them says the same.

const PATHS = {
  alert: "M12 9v4m0 4h.01M10.3 3.9 1.8 18a2 2 0 0 0 1.7 3h17a2 2 0 0 0 1.7-3L13.7 3.9a2 2 0 0 0-3.4 0Z",
  activity: "M22 12h-4l-3 9L9 3l-3 9H2",
  back: "M19 12H5m7 7-7-7 7-7",
  sound: "M11 5 6 9H3v6h3l5 4zm4.5 3.5a5 5 0 0 1 0 7m3-10a9 9 0 0 1 0 13",
  silence: "M11 5 6 9H3v6h3l5 4zm5 4 5 6m0-6-5 6",
  bag: "M6 8h12l1.5 13h-15ZM9 8V6a3 3 0 0 1 6 0v2",
  bell: "M6 8a6 6 0 1 1 12 0c0 7 3 9 3 9H3s3-2 3-9m4.3 13a2 2 0 0 0 3.4 0",
  bolt: "M13 2 4 14h7l-1 8 9-12h-7Z",
  book: "M4 19.5V5a2 2 0 0 1 2-2h14v18H6a2 2 0 0 1-2-1.5Zm0 0A2 2 0 0 1 6 17h14",
  camera:
    "M4 8h3l2-3h6l2 3h3a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V9a1 1 0 0 1 1-1Zm12 5.5a4 4 0 1 1-8 0 4 4 0 0 1 8 0Z",
  chart: "M3 3v18h18M8 17v-5m5 5V8m5 9v-7",
  chat: "M21 12a8 8 0 0 1-11.6 7.1L3 21l1.9-6.4A8 8 0 1 1 21 12Z",
  check: "M20 6 9 17l-5-5",
  clock: "M12 7v5l3 2m6-2a9 9 0 1 1-18 0 9 9 0 0 1 18 0Z",
  close: "M18 6 6 18M6 6l12 12",
  code: "m16 18 6-6-6-6M8 6l-6 6 6 6",
  grid: "M4 4h6v6H4Zm10 0h6v6h-6ZM4 14h6v6H4Zm10 0h6v6h-6Z",
  home: "m3 10 9-7 9 7v10a1 1 0 0 1-1 1h-5v-7H9v7H4a1 1 0 0 1-1-1Z",
  key: "M15 9a5 5 0 1 1-10 0 5 5 0 0 1 10 0Zm-1.5 3.5L21 20v1h-3v-2h-2v-2l-2-2",
  list: "M8 6h13M8 12h13M8 18h13M3 6h.01M3 12h.01M3 18h.01",
  locate: "M12 2v3m0 14v3M2 12h3m14 0h3m-4 0a6 6 0 1 1-12 0 6 6 0 0 1 12 0Z",
  map: "m3 6 6-3 6 3 6-3v15l-6 3-6-3-6 3Zm6-3v15m6-12v15",
  moon: "M21 12.8A9 9 0 1 1 11.2 3a7 7 0 0 0 9.8 9.8Z",
  phone: "M7 2h10a1 1 0 0 1 1 1v18a1 1 0 0 1-1 1H7a1 1 0 0 1-1-1V3a1 1 0 0 1 1-1Zm5 16h.01",
  pin: "M20 10c0 6-8 12-8 12s-8-6-8-12a8 8 0 0 1 16 0Zm-5 0a3 3 0 1 1-6 0 3 3 0 0 1 6 0Z",
  search: "m21 21-4.3-4.3M19 11a8 8 0 1 1-16 0 8 8 0 0 1 16 0Z",
  settings: "M4 7h10m4 0h2M4 17h2m4 0h10M14 4v6M10 14v6",
  spark: "m11 3 2 6 6 2-6 2-2 6-2-6-6-2 6-2Zm8 13v5m-2.5-2.5h5",
  star: "m12 2.5 3 6.2 6.8.9-5 4.8 1.3 6.8L12 17.9l-6.1 3.3 1.3-6.8-5-4.8 6.8-.9Z",
  sun:
    "M12 2v2m0 16v2M4.9 4.9l1.4 1.4m11.4 11.4 1.4 1.4M2 12h2m16 0h2M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4M16 12a4 4 0 1 1-8 0 4 4 0 0 1 8 0Z",
  people:
    "M16 21v-2a4 4 0 0 0-4-4H6a4 4 0 0 0-4 4v2m20 0v-2a4 4 0 0 0-3-3.9M13 7a4 4 0 1 1-8 0 4 4 0 0 1 8 0Zm3-3.9a4 4 0 0 1 0 7.8",
  truck: "M2 5h12v11H2Zm12 4h4l4 4v3h-8M9 18a2 2 0 1 1-4 0 2 2 0 0 1 4 0Zm10 0a2 2 0 1 1-4 0 2 2 0 0 1 4 0Z",
  user: "M20 21v-2a4 4 0 0 0-4-4H8a4 4 0 0 0-4 4v2M16 7a4 4 0 1 1-8 0 4 4 0 0 1 8 0Z",
  wrench: "M14.7 6.3a4.5 4.5 0 0 0-6 5.6L3 17.6 6.4 21l5.7-5.7a4.5 4.5 0 0 0 5.6-6L14.6 12 12 9.4Z",
};

export type IconName = keyof typeof PATHS;

/** Words in the name or the category of a service, in English or German, and the icon of such work. */
const WORK: [RegExp, IconName][] = [
  [/clean|reinig|putz/i, "spark"],
  [/deliver|food|grocer|liefer|essen/i, "bag"],
  [/mov(e|ing)|transport|umzug/i, "truck"],
  [/electr|elektr/i, "bolt"],
  [/lock|schl[oö]ss|schlüssel/i, "key"],
];

/** Return the icon of a service: that of the first words that fit, or a wrench. */
export function iconOfService({ name, category }: { name: string; category: string }): IconName {
  return WORK.find(([words]) => words.test(`${name} ${category}`))?.[1] ?? "wrench";
}

export function Icon({ name, size = 20 }: { name: IconName; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      stroke-width="2"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}

/** The logo of Callout: a dot with a ring around it. */
export function Mark({ size = 28 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="9" fill="var(--brand)" />
      <circle cx="16" cy="16" r="4" fill="var(--on-brand)" />
      <path
        d="M9.2 9.2a9.6 9.6 0 0 0 0 13.6m13.6 0a9.6 9.6 0 0 0 0-13.6"
        fill="none"
        stroke="var(--on-brand)"
        stroke-width="2.6"
        stroke-linecap="round"
      />
    </svg>
  );
}
