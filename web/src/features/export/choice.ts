import type { Schemas } from "../../lib/api";

export type Form = Schemas["FormOffer"]["form"];
export type GgufType = Schemas["ExportRequest"]["ggufType"];

/** What a person chose to take away. */
export interface Choice {
  forms: Form[];
  type: NonNullable<GgufType>;
  push: boolean;
  repoId: string;
  isPrivate: boolean;
}

export const FORMS: Record<Form, { name: string; what: string }> = {
  merged: { name: "Whole model", what: "safetensors, for transformers and vLLM" },
  adapter: { name: "Adapter", what: "PEFT, small; needs its base" },
  gguf: { name: "GGUF", what: "one file for llama.cpp and LM Studio" },
  ollama: { name: "Ollama", what: "GGUF and a Modelfile with the trained template" },
};
export const TYPES: Record<NonNullable<GgufType>, string> = {
  f16: "f16, half the size, near exact", q8_0: "q8_0, a quarter of the size", bf16: "bf16, half the size", f32: "f32, exact",
};
const REPO = /^[A-Za-z0-9][A-Za-z0-9_-]{0,38}\/[A-Za-z0-9]([A-Za-z0-9._-]{0,94}[A-Za-z0-9])?$/;

export const usesGguf = (forms: Form[]): boolean => forms.includes("gguf") || forms.includes("ollama");

/** Predicted bytes of what was chosen; null where the size of a part is not known yet. GGUF and Ollama share one file. */
export function predicted(choice: Choice, offers: Schemas["FormOffer"][]): number | null {
  const known = new Map(offers.map((offer) => [offer.form, offer]));
  const parts: (number | null | undefined)[] = choice.forms.filter((form) => form === "merged" || form === "adapter").map((form) => known.get(form)?.bytes);
  if (usesGguf(choice.forms)) parts.push(known.get("gguf")?.byType?.[choice.type]);
  return parts.some((part) => part == null) ? null : parts.reduce<number>((sum, part) => sum + (part ?? 0), 0);
}

/** What stands in the way of the choice, in words; null if nothing does. */
export function problem(choice: Choice, offers: Schemas["ExportOffers"]): string | null {
  if (choice.forms.length === 0) return "Choose at least one form.";
  const size = predicted(choice, offers.forms);
  if (size !== null && size > offers.freeBytes) return "There is not enough free disk space for this.";
  if (choice.push && !REPO.test(choice.repoId)) return "Name the repository as owner/name.";
  return null;
}
