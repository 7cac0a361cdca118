// Distances on the ground.

/** The distance of two places, `[lat, lon]` in degrees, in metres: on a sphere, by the haversine formula. */
export function metresBetween([lat, lon]: [number, number], [otherLat, otherLon]: [number, number]): number {
  const rad = Math.PI / 180;
  const [north, east] = [Math.sin(((otherLat - lat) * rad) / 2), Math.sin(((otherLon - lon) * rad) / 2)];
  const part = north * north + Math.cos(lat * rad) * Math.cos(otherLat * rad) * east * east;
  return 12_742_000 * Math.asin(Math.sqrt(part));
}
