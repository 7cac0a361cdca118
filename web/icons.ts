// The icons of the installable apps, drawn when the pages are built: the mark of Callout (`shared/ui/icons.tsx`) as a PNG, because phones do not accept an SVG. (Rejected: committed pictures, which nobody can compare with the
// mark.)

const BRAND = [13, 110, 102];
const INK = [255, 255, 255];
const SIDE = 32;

/** The distance (in units of the mark, 32 a side) of a place to the ink: below 0 it is inside. */
function distanceToInk(x: number, y: number): number {
  const [dx, dy] = [x - 16, y - 16];
  const far = Math.hypot(dx, dy);
  const dot = far - 4;
  // Two arcs of a circle of radius 9.6, left and right, 90 degrees each, with round ends.
  const angle = Math.atan2(Math.abs(dy), Math.abs(dx));
  const end = Math.PI / 4;
  const arc = angle <= end
    ? Math.abs(far - 9.6)
    : Math.hypot(Math.abs(dx) - 9.6 * Math.cos(end), Math.abs(dy) - 9.6 * Math.sin(end));
  return Math.min(dot, arc - 1.3);
}

/** Return the icon with `size` pixels a side as a PNG. It fills the square: a phone cuts it to its own shape. */
export async function iconPng(size: number): Promise<Uint8Array<ArrayBuffer>> {
  const rows = new Uint8Array(size * (3 * size + 1));
  const pixel = SIDE / size;
  for (let row = 0, at = 0; row < size; row++) {
    rows[at++] = 0;
    for (let column = 0; column < size; column++) {
      // The mark is smaller than the square, because a phone cuts off the edges.
      const [x, y] = [column + 0.5, row + 0.5].map((each) => 16 + (each * pixel - 16) * 1.25);
      const ink = Math.min(1, Math.max(0, 0.5 - distanceToInk(x, y) / (pixel * 1.25)));
      for (let i = 0; i < 3; i++) rows[at++] = Math.round(BRAND[i] + ink * (INK[i] - BRAND[i]));
    }
  }
  const packed = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const head = new DataView(new ArrayBuffer(13));
  head.setUint32(0, size);
  head.setUint32(4, size);
  [8, 2, 0, 0, 0].forEach((value, i) => head.setUint8(8 + i, value));
  const parts = [
    chunk("IHDR", new Uint8Array(head.buffer)),
    chunk("IDAT", new Uint8Array(await new Response(packed).arrayBuffer())),
    chunk("IEND", new Uint8Array()),
  ];
  return new Uint8Array(await new Blob([new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]), ...parts]).arrayBuffer());
}

function chunk(kind: string, data: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(12 + data.length);
  const view = new DataView(whole.buffer);
  view.setUint32(0, data.length);
  whole.set(new TextEncoder().encode(kind), 4);
  whole.set(data, 8);
  view.setUint32(8 + data.length, crc32(whole.subarray(4, 8 + data.length)));
  return whole;
}

/** CRC-32 as in ISO 3309, which PNG uses. */
function crc32(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
