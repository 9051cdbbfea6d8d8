import type { Schemas } from "../../lib/api";
import { Check, TextArea, TextField } from "../../ui/Field";

export type Need = Schemas["ConsentNeed"];
export type Consent = { person: string; statement: string; given: boolean };

export const NO_CONSENT: Consent = { person: "", statement: "", given: false };
const LEAST_WORDS = 5;
const SAID = {
  voice: {
    title: "Consent of the speaker", law: "A voice is learnt only with the consent of the person it belongs to. What you write here is kept with the run and stands in the model's card.",
    whose: "Whose voice it is", allows: "What the speaker allows, in the speaker's own words", example: "I, Alex Example, agree that a model learns my voice for our own audio books.",
    given: "I am the speaker, or I hold the speaker's written consent", no: ["Say whose voice it is.", "Write down what the speaker says that the voice may be used for.", "The speaker's consent is not confirmed yet."],
  },
  likeness: {
    title: "Consent of the person shown", law: "Pictures of a person are learnt only with the consent of the person they show. What you write here is kept with the run.",
    whose: "Who is shown", allows: "What this person allows, in their own words", example: "I, Alex Example, agree that a model learns from photos of me for our family's birthday cards.",
    given: "I am the person shown, or I hold their written consent", no: ["Say who is shown.", "Write down what this person says that the pictures may be used for.", "The consent of the person shown is not confirmed yet."],
  },
} as const;

/** What a plan needs. Voices needed a consent before plans said so. */
export function needOf(plan: Pick<Schemas["TrainingImplementationPlan"], "consentNeed" | "choices">): Need | null {
  return plan.consentNeed ?? (plan.choices.capability === "voice_cloning" ? { subject: "voice" } : null);
}

/** Why a consent cannot be recorded as it stands; empty where it can. */
export function lacking({ person, statement, given }: Consent, { subject }: Need): string[] {
  const said = statement.trim().split(/\s+/).filter(Boolean).length;
  const [who, what, whether] = SAID[subject].no;
  return [...(person.trim().length >= 2 ? [] : [who]), ...(said >= LEAST_WORDS ? [] : [what]), ...(given ? [] : [whether])];
}

/** What the person whose voice or likeness is learnt allows; kept with the run. */
export function ConsentForm({ need, value, onChange }: { need: Need; value: Consent; onChange: (next: Consent) => void }) {
  const said = SAID[need.subject];
  return (
    <section aria-labelledby="consent" className="card grid gap-4 p-4 sm:p-5">
      <h2 id="consent" className="text-lg font-semibold">{said.title}</h2>
      <p className="max-w-[70ch] text-sm text-mid">{said.law}{need.who && ` Your request speaks of “${need.who}”.`}</p>
      <TextField label={said.whose} value={value.person} maxLength={200} onChange={(event) => onChange({ ...value, person: event.target.value })} />
      <TextArea label={said.allows} value={value.statement} maxLength={4000} placeholder={said.example} onChange={(event) => onChange({ ...value, statement: event.target.value })} />
      <Check label={said.given} checked={value.given} onChange={(given) => onChange({ ...value, given })} />
    </section>
  );
}

/** The consent as it was recorded. */
export function Recorded({ consent }: { consent: Schemas["Consent"] }) {
  return <p className="card p-4 text-sm text-mid">{consent.subject === "likeness" ? "Pictures" : "The voice"} of {consent.person}: “{consent.statement}”</p>;
}
