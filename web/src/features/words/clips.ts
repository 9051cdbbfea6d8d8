import type { Schemas } from "../../lib/api";

export type Transcript = Schemas["Transcript"];

/** A clip with its words; `clip` is its name on the server. */
export interface Clip extends Transcript {
  clip: string;
}

export type Filter = "all" | "unsure" | "unchecked";

/** Below this the model's words count as unsure. Its own decoding gives up below 0.37; clear speech lies around 0.8. */
export const UNSURE = 0.7;

/** Clips in order of recording and time. */
export function clipsOf(transcripts: Record<string, Transcript>): Clip[] {
  const order = new Intl.Collator("en", { numeric: true });
  return Object.entries(transcripts)
    .map(([clip, told]) => ({ ...told, clip }))
    .sort((one, other) => order.compare(one.name, other.name) || one.start - other.start || order.compare(one.clip, other.clip));
}

/** Nobody read them yet, and the model was not sure: it heard nothing, or did not say how sure it was. */
export function isUnsure(one: Transcript): boolean {
  return !one.checked && !one.edited && (one.text === "" || (one.sure ?? 0) < UNSURE);
}

export function chosen(clips: Clip[], filter: Filter): Clip[] {
  if (filter === "unsure") return clips.filter(isUnsure).sort((one, other) => (one.sure ?? 0) - (other.sure ?? 0));
  return filter === "unchecked" ? clips.filter((one) => !one.checked && !one.edited) : clips;
}

/** 62.4 → "1:02". */
export function clock(seconds: number): string {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** Which recording, and which part of it. */
export function placeOf(one: Transcript): string {
  const length = `${one.seconds.toFixed(1)} s`;
  return one.start > 0 ? `${one.name}, from ${clock(one.start)}, ${length}` : `${one.name}, ${length}`;
}

/** How sure the model was, in words; nothing of words that a person wrote. */
export function sureness(one: Transcript): string {
  if (one.edited) return "";
  if (!one.text) return "heard no words";
  return one.sure == null ? "how sure is not known" : `${Math.round(one.sure * 100)} % sure`;
}
