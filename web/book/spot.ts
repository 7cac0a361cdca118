// A place that a customer chose on the map.

export interface Spot {
  lat: number;
  lon: number;
}

/** Round to six decimals of a degree, which are a tenth of a metre. */
export const round = (degrees: number) => Math.round(degrees * 1e6) / 1e6;
