/** Money, time and numbers in words. Never more places than the size needs. */

export function money(amount: number | null | undefined): string {
  if (amount == null || !Number.isFinite(amount)) return "–";
  const size = Math.abs(amount);
  const whole = Math.abs(size * 100 - Math.round(size * 100)) < 1e-6;
  const places = size > 0 && size < 0.1 && !whole ? 4 : size >= 1000 ? 0 : 2;
  return `$${amount.toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places })}`;
}

export function signedMoney(amount: number): string {
  return `${amount < 0 ? "−" : "+"}${money(Math.abs(amount))}`;
}

/** Seconds in the largest units that say something: 48 s, 6 min, 1 h 20 min, 3.2 d. */
export function duration(seconds: number | null | undefined): string {
  if (seconds == null || !Number.isFinite(seconds)) return "–";
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) {
    const minutes = Math.floor((seconds % 3600) / 60);
    return `${Math.floor(seconds / 3600)} h${minutes ? ` ${minutes} min` : ""}`;
  }
  return `${(seconds / 86_400).toFixed(1)} d`;
}

export const hours = (value: number | null | undefined): string => duration(value == null ? value : value * 3600);

export function range(low: number, high: number, show: (value: number) => string): string {
  const [from, to] = [show(low), show(high)];
  return from === to ? from : `${from} – ${to}`;
}

export function bytes(count: number | null | undefined): string {
  if (count == null) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? value.toFixed(0) : value.toFixed(1)} ${units[unit]}`;
}

export function ago(iso: string | null | undefined, now: number): string {
  if (!iso) return "never";
  const seconds = Math.max(0, (now - Date.parse(iso)) / 1000);
  return seconds < 5 ? "just now" : `${duration(seconds)} ago`;
}

export function words(name: string): string {
  return name.replaceAll("_", " ");
}

export function sentence(name: string): string {
  const text = words(name);
  return text.charAt(0).toUpperCase() + text.slice(1);
}
