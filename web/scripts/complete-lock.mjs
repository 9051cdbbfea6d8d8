// Writes the optional native packages of other systems back into package-lock.json. A lock made on a machine whose registry lacks
// them drops them silently, and `npm ci` then fails elsewhere with EUSAGE.
import { readFileSync, writeFileSync } from "node:fs";

const OS = ["linux", "darwin", "win32", "freebsd", "android", "openharmony"];
const CPU = ["x64", "arm64", "arm", "ia32", "ppc64", "s390x", "riscv64", "loong64", "wasm32"];
const file = new URL("../package-lock.json", import.meta.url);
const lock = JSON.parse(readFileSync(file, "utf8"));
const packages = lock.packages;
for (const [at, entry] of Object.entries(packages)) {
  delete entry.resolved;
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    if (!at || packages[`node_modules/${name}`]) continue;
    const words = name.split(/[-/]/);
    const os = OS.filter((word) => words.includes(word));
    const cpu = CPU.filter((word) => words.includes(word));
    if (!os.length && !cpu.length) continue;
    packages[`node_modules/${name}`] = {
      version, ...(entry.dev && { dev: true }), optional: true, ...(os.length && { os }), ...(cpu.length && { cpu }),
      ...(words.includes("musl") && { libc: ["musl"] }),
    };
  }
}
lock.packages = Object.fromEntries(Object.entries(packages).sort(([a], [b]) => (a < b ? -1 : 1)));
writeFileSync(file, JSON.stringify(lock, null, 2) + "\n");
