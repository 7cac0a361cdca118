// Bundle the pages: `deno run --allow-all bundle.ts FOLDER`. build.py calls it.
//
// Each entry is one page. Code that several pages need is in files that they share. File names contain a hash of the
// content, so a browser may store them for ever. `manifest.json` says which files a page needs.
// (Rejected: `deno bundle`, which is experimental and does not list what a file contains.)

import * as esbuild from "esbuild";
import { iconPng } from "./icons.ts";

const ENTRIES: Record<string, string> = {
  start: "start/start.tsx",
  console: "console/console.tsx",
  book: "book/book.tsx",
  tech: "tech/tech.tsx",
  track: "track/track.tsx",
  apidocs: "apidocs/apidocs.ts",
  guide: "guide/guide.ts",
};
/** Files that a page serves below its own path, under a fixed name: a service worker and what lies in `static/`. */
const APPS = ["console", "book", "tech"];
const MEDIA_TYPES: Record<string, string> = {
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  webmanifest: "application/manifest+json",
  svg: "image/svg+xml",
  png: "image/png",
  json: "application/json",
  txt: "text/plain; charset=utf-8",
};

const here = import.meta.dirname!;
const out = Deno.args[0];
await Deno.mkdir(out, { recursive: true });

const common: esbuild.BuildOptions = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  write: true,
  format: "esm",
  target: ["chrome120", "firefox121", "safari17.5"],
  outdir: out,
  entryNames: "[name]-[hash]",
  chunkNames: "part-[hash]",
  assetNames: "[name]-[hash]",
  publicPath: "/assets",
  loader: { ".woff2": "file", ".png": "file", ".svg": "file" },
  legalComments: "none",
  metafile: true,
  logLevel: "error",
};

interface Page {
  scripts: string[];
  styles: string[];
  preloads: string[];
  fonts: string[];
  later: string[];
}

const packages = new Set<string>();
/** Return the name of the file that was made from the entry `stem`. */
const built = (result: esbuild.BuildResult, stem: string): string =>
  Object.keys(result.metafile!.outputs).map(nameOf).find((name) =>
    new RegExp(`^${stem}-[A-Z0-9]{8}\\.js$`).test(name)
  )!;
const nameOf = (path: string) => path.split("/").at(-1)!;

function notePackages(result: esbuild.BuildResult) {
  for (const input of Object.keys(result.metafile!.inputs)) {
    const at = input.lastIndexOf("node_modules/");
    if (at < 0) continue;
    const parts = input.slice(at + "node_modules/".length).split("/");
    packages.add(
      input.slice(0, at + "node_modules/".length) + parts.slice(0, parts[0].startsWith("@") ? 2 : 1).join("/"),
    );
  }
}

// The scripts that run before the page is shown. The map's worker shares files with the map, so it is bundled with the pages.
const boot = await esbuild.build({ ...common, format: "iife", entryPoints: ["shared/boot.ts"] });
const workerSource = "node_modules/maplibre-gl/dist/maplibre-gl-worker.mjs";
const redocSource = "node_modules/redoc/bundles/redoc.standalone.js";
const redoc = await copy(redocSource, "redoc", ".js", withoutForeignLogo);

const pages = await esbuild.build({
  ...common,
  splitting: true,
  entryPoints: { ...ENTRIES, "map-worker": workerSource },
  jsx: "automatic",
  jsxImportSource: "preact",
});
notePackages(pages);
packages.add("node_modules/redoc");

const entries: Record<string, Page> = {};
for (const [name, source] of Object.entries(ENTRIES)) {
  const outputs = pages.metafile!.outputs;
  const [path, output] = Object.entries(outputs).find(([, each]) => each.entryPoint === source)!;
  const styles = output.cssBundle ? [output.cssBundle] : [];
  const fonts = styles.flatMap((each) => outputs[each].imports.map((one) => one.path)).filter((each) =>
    /latin-wght.*woff2$/.test(each)
  );
  entries[name] = {
    scripts: [nameOf(path)],
    styles: styles.map(nameOf),
    preloads: [...staticImports(path)].map(nameOf),
    fonts: fonts.map(nameOf),
    later: [...laterImports(path)].map(nameOf),
  };
}

/** The files that a file imports at once, also indirectly. */
function staticImports(path: string, found = new Set<string>()): Set<string> {
  for (const { path: inner, kind } of pages.metafile!.outputs[path].imports) {
    if (kind !== "import-statement" || found.has(inner)) continue;
    found.add(inner);
    staticImports(inner, found);
  }
  return found;
}

/** The files that a file may import later, such as the map, but not at once. */
function laterImports(path: string): Set<string> {
  const [now, found] = [new Set([path, ...staticImports(path)]), new Set<string>()];
  for (const each of now) visit(each);
  return found;

  function visit(each: string) {
    for (const { path: inner } of pages.metafile!.outputs[each].imports) {
      if (!inner.endsWith(".js") || now.has(inner) || found.has(inner)) continue;
      found.add(inner);
      visit(inner);
    }
  }
}

const served: Record<string, { file: string; type: string }> = {};
for (const app of APPS) {
  const source = `${app}/sw.ts`;
  if (await exists(`${here}/${source}`)) {
    const result = await esbuild.build({ ...common, format: "iife", entryPoints: { [`${app}-sw`]: source } });
    served[`/${app}/sw.js`] = { file: built(result, `${app}-sw`), type: MEDIA_TYPES.js };
  }
  for (const name of await filesIn(`${here}/${app}/static`)) {
    const type = MEDIA_TYPES[name.split(".").at(-1)!];
    if (!type) throw new Error(`${app}/static/${name}: no media type for it`);
    const [stem, suffix] = [name.slice(0, name.lastIndexOf(".")), name.slice(name.lastIndexOf("."))];
    served[`/${app}/${name}`] = { file: await copy(`${app}/static/${name}`, `${app}-${stem}`, suffix), type };
  }
}

for (const size of [192, 512]) {
  const file = await write(await iconPng(size), `icon-${size}`, ".png");
  for (const app of ["book", "tech"]) served[`/${app}/icon-${size}.png`] = { file, type: MEDIA_TYPES.png };
}

await writeLicences();
const named = { "map-worker": built(pages, "map-worker"), redoc };
const manifest = { entries, boot: built(boot, "boot"), named, served, bytes: {} };
await Deno.writeTextFile(`${out}/manifest.json`, JSON.stringify(manifest));

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

async function filesIn(folder: string): Promise<string[]> {
  if (!await exists(folder)) return [];
  return (await Array.fromAsync(Deno.readDir(folder))).filter((entry) => entry.isFile).map((entry) => entry.name)
    .sort();
}

/** Copy a file that needs no bundling, under a name with its hash, and return the name. */
async function copy(
  source: string,
  stem: string,
  suffix = source.slice(source.lastIndexOf(".")),
  change?: (text: string) => string,
): Promise<string> {
  const original = await Deno.readFile(`${here}/${source}`);
  const bytes = change ? new TextEncoder().encode(change(new TextDecoder().decode(original))) : original;
  return await write(bytes, stem, suffix);
}

/** Write a file under a name with its hash, and return the name. */
async function write(bytes: Uint8Array<ArrayBuffer>, stem: string, suffix: string): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const name = `${stem}-${[...hash.slice(0, 5)].map((byte) => byte.toString(16).padStart(2, "0")).join("")}${suffix}`;
  await Deno.writeFile(`${out}/${name}`, bytes);
  return name;
}

/** Redoc loads its maker's logo from the maker's server. Here it shows none. */
function withoutForeignLogo(text: string): string {
  const changed = text.replaceAll(/`https:\/\/cdn\.redoc\.ly\/redoc\/logo-mini(-full)?\.svg`/g, "`data:,`");
  if (changed === text) throw new Error("redoc: the address of the logo has changed");
  return changed;
}

/** Write the licence of each package that is in the pages, with its text. */
async function writeLicences() {
  const parts: string[] = [];
  for (const folder of [...packages].sort((one, other) => nameOf(one) < nameOf(other) ? -1 : 1)) {
    const about = JSON.parse(await Deno.readTextFile(`${here}/${folder}/package.json`));
    const texts = (await filesIn(`${here}/${folder}`)).filter((name) => /^(licen[cs]e|notice|copying)/i.test(name));
    const bodies = await Promise.all(texts.map((name) => Deno.readTextFile(`${here}/${folder}/${name}`)));
    if (!about.license && !bodies.length) throw new Error(`${about.name}: no licence`);
    parts.push(
      [`${about.name} ${about.version} (${about.license})`, ...bodies.map((body) => body.trim())].join("\n\n"),
    );
  }
  const line = `\n\n${"-".repeat(80)}\n\n`;
  await Deno.writeTextFile(`${out}/LICENSES.txt`, `The pages contain these packages.${line}${parts.join(line)}\n`);
}

await esbuild.stop();
