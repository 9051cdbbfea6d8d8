import { type FormEvent, useState } from "react";
import type { Problem, Schemas } from "../../lib/api";
import { Button } from "../../ui/Button";
import { Icon } from "../../ui/Icon";
import { ErrorBox } from "../../ui/States";
import { factName, valueText } from "./facts";
import { TILE_ICONS } from "./Tile";

const IDEAS = ["Use a smaller model", "Make it cheaper", "Train longer for better quality", "Use DoRA instead"];

/** "Modify with AI": a change in plain English, and what it moved. */
export function Modify({ onSend, busy, problem }: { onSend: (words: string) => Promise<boolean>; busy: boolean; problem: Problem | null }) {
  const [words, setWords] = useState("");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (words.trim()) void onSend(words).then((done) => done && setWords(""));
  };
  return (
    <section aria-labelledby="modify" className="glass p-4 sm:p-5">
      <h2 id="modify" className="flex items-center gap-2 text-base font-semibold"><Icon name="edit" size={18} className="text-signal" />Modify with AI</h2>
      <form onSubmit={submit} className="mt-3 flex flex-col gap-2 sm:flex-row">
        <input
          aria-label="Change in plain English" value={words} maxLength={20_000} onChange={(event) => setWords(event.target.value)}
          placeholder="A smaller model, under $2"
          className="h-11 w-full min-w-0 shrink-0 rounded-field sm:w-auto sm:flex-1 border border-line bg-ink-950 px-3 text-sm placeholder:text-low focus-visible:outline-offset-0"
        />
        <Button type="submit" look="plain" icon="arrow" busy={busy} disabled={!words.trim()}>{busy ? "Recalculating" : "Change the plan"}</Button>
      </form>
      <ul className="mt-2 flex flex-wrap gap-2">
        {IDEAS.map((idea) => (
          <li key={idea}>
            <button type="button" onClick={() => setWords(idea)} className="min-h-8 rounded-full border border-line/50 px-3 text-xs text-mid transition-colors duration-150 hover:bg-ink-850 hover:text-hi">{idea}</button>
          </li>
        ))}
      </ul>
      {problem && <div className="mt-3"><ErrorBox problem={problem} kept="The plan is as it was." /></div>}
    </section>
  );
}

/** The difference an edit made: what was asked, and what followed from it, each with its reason. */
export function Changes({ changes: all, onClose }: { changes: Schemas["PlanChange"][]; onClose: () => void }) {
  // A figure that moved by less than it is shown with would read "2.8 GB → 2.8 GB".
  const changes = all.filter((change) => change.asked || valueText(change.param, change.before) !== valueText(change.param, change.after));
  const asked = changes.filter((change) => change.asked);
  const followed = changes.filter((change) => !change.asked);
  return (
    <section role="status" aria-label="What changed" className="card enter p-4 sm:p-5">
      <div className="flex items-center justify-between gap-3">
        <h2 className="text-base font-semibold">{changes.length ? `${changes.length} thing${changes.length > 1 ? "s" : ""} changed` : "Nothing changed"}</h2>
        <Button look="quiet" icon="close" onClick={onClose}>Close</Button>
      </div>
      {changes.length === 0 && <p className="text-sm text-mid">The plan already does that, or nothing in it matches these words.</p>}
      {[["You asked for", asked], ["It follows", followed]].map(([title, rows]) => (rows as Schemas["PlanChange"][]).length > 0 && (
        <div key={title as string} className="mt-2">
          <h3 className="text-xs text-low">{title as string}</h3>
          <ul className="mt-1 divide-y divide-edge">
            {(rows as Schemas["PlanChange"][]).map((change) => (
              <li key={`${change.tile}-${change.param}`} className="grid gap-x-4 gap-y-1 py-2.5 text-sm sm:grid-cols-[10rem_minmax(0,1fr)]">
                <span className="flex items-center gap-2 text-mid"><Icon name={TILE_ICONS[change.tile]} size={16} />{factName(change.param)}</span>
                <span className="min-w-0">
                  <span className="num flex flex-wrap items-center gap-2 text-xs">
                    <del className="break-words text-low">{valueText(change.param, change.before)}</del>
                    <Icon name="arrow" size={14} className="text-low" />
                    <ins className="break-words text-signal no-underline">{valueText(change.param, change.after)}</ins>
                  </span>
                  <span className="mt-0.5 block text-mid">{change.reason}</span>
                </span>
              </li>
            ))}
          </ul>
        </div>
      ))}
    </section>
  );
}
