import { Check, TextArea, TextField } from "../../ui/Field";

export type Consent = { speaker: string; statement: string; given: boolean };

export const NO_CONSENT: Consent = { speaker: "", statement: "", given: false };
const LEAST_WORDS = 5;

/** Why a consent cannot be recorded as it stands; empty where it can. */
export function lacking({ speaker, statement, given }: Consent): string[] {
  const said = statement.trim().split(/\s+/).filter(Boolean).length;
  return [
    ...(speaker.trim().length >= 2 ? [] : ["Say whose voice it is."]),
    ...(said >= LEAST_WORDS ? [] : ["Write down what the speaker says that the voice may be used for."]),
    ...(given ? [] : ["The speaker's consent is not confirmed yet."]),
  ];
}

/** What the person whose voice is learnt allows; kept with the run and in the model's card. */
export function ConsentForm({ value, onChange }: { value: Consent; onChange: (next: Consent) => void }) {
  return (
    <section aria-labelledby="consent" className="card grid gap-4 p-4 sm:p-5">
      <h2 id="consent" className="text-lg font-semibold">Consent of the speaker</h2>
      <p className="max-w-[70ch] text-sm text-mid">A voice is learnt only with the consent of the person it belongs to. What you write here is kept with the run and stands in the model's card.</p>
      <TextField label="Whose voice it is" value={value.speaker} maxLength={200} onChange={(event) => onChange({ ...value, speaker: event.target.value })} />
      <TextArea
        label="What the speaker allows, in the speaker's own words" value={value.statement} maxLength={4000}
        placeholder="I, Alex Example, agree that a model learns my voice for our own audio books."
        onChange={(event) => onChange({ ...value, statement: event.target.value })}
      />
      <Check label="I am the speaker, or I hold the speaker's written consent" checked={value.given} onChange={(given) => onChange({ ...value, given })} />
    </section>
  );
}
