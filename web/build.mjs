// Builds the page's script and style from web/src into src/avrt/report/assets, which are committed:
// a Python user never needs Node. `node build.mjs --tests` builds the unit tests instead.
//
// The first line of both files carries the hash of all that they are made from; tools/check_web.py
// computes the same and so finds assets that are stale.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const WEB = dirname(fileURLToPath(import.meta.url));
const ASSETS = join(WEB, "../src/avrt/report/assets");
const SETUP = ["build.mjs", "package-lock.json", "package.json", "tsconfig.json"];

function filesBelow(folder) {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** sha256 over "<path>\n<content>\n" of every source, sorted by path. */
function sourceHash() {
  const paths = filesBelow(join(WEB, "src")).map((path) =>
    relative(WEB, path).replaceAll(sep, "/"),
  );
  const hash = createHash("sha256");
  for (const path of [...paths, ...SETUP].sort()) {
    hash
      .update(`${path}\n`)
      .update(readFileSync(join(WEB, path)))
      .update("\n");
  }
  return hash.digest("hex");
}

/** The licences of every package of which something is in the bundle. */
function writeLicenses(metafile) {
  const inputs = Object.keys(metafile.inputs);
  const names = inputs.map((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1]);
  const used = [...new Set(names.filter((name) => name !== undefined))].sort();
  const texts = used.map((name) => {
    const folder = join(WEB, "node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    if (file === undefined) throw new Error(`${name} ${version}: no licence file; leave it out`);
    const text = readFileSync(join(folder, file), "utf8").trim();
    return `${name} ${version} (${license})\n\n${text}\n`;
  });
  const head = "app.js contains parts of these packages:\n";
  const body = texts.length > 0 ? [head, ...texts].join(`\n${"-".repeat(78)}\n\n`) : "None.\n";
  writeFileSync(join(ASSETS, "LICENSES.txt"), body);
}

async function buildTests() {
  const outdir = join(WEB, ".tests");
  rmSync(outdir, { recursive: true, force: true });
  const entryPoints = filesBelow(join(WEB, "tests")).filter((path) => path.endsWith(".test.ts"));
  await build({
    entryPoints,
    outdir,
    bundle: true,
    format: "esm",
    platform: "node",
    outExtension: { ".js": ".mjs" },
  });
}

async function buildPage() {
  const banner = `/* sources: ${sourceHash()} */`;
  const { metafile } = await build({
    entryPoints: { app: join(WEB, "src/main.ts") },
    outdir: ASSETS,
    bundle: true,
    minify: true,
    format: "iife",
    target: ["es2022", "chrome123", "firefox120", "safari17.5"],
    charset: "ascii",
    legalComments: "none",
    banner: { js: banner, css: banner },
    metafile: true,
  });
  writeLicenses(metafile);
}

await (process.argv.includes("--tests") ? buildTests() : buildPage());
