import { useState } from "react";
import { type Schemas, toProblem } from "../../lib/api";
import { bytes } from "../../lib/format";
import { Badge } from "../../ui/Badge";
import { Button } from "../../ui/Button";
import { Card } from "../../ui/Card";
import { Check, Select, TextField } from "../../ui/Field";
import { Bar } from "../../ui/Progress";
import { ErrorBox, Loading } from "../../ui/States";
import { type Choice, type Form, FORMS, predicted, problem, TYPES, usesGguf } from "./choice";
import { Exported } from "./Exported";
import { type Export, isLive, useExports } from "./useExports";

/** Takes the model away: which forms, how large, then written, read back, compared, downloaded. */
export function ExportModel({ jobId }: { jobId: string }) {
  const { offers, list, start, cancel } = useExports(jobId);
  const failed = offers.error ?? list.error;
  if (failed) return <ErrorBox problem={toProblem(failed)} onRetry={() => void Promise.all([offers.refetch(), list.refetch()])} kept="The model and its files are safe." />;
  if (!offers.data || !list.data) return <Loading label="Loading the export" rows={1} />;
  const live = list.data.find(isLive);
  const ended = list.data.filter((item) => !isLive(item));
  return (
    <Card title="Export" aside={<span className="text-xs text-low">written, read back and compared with what was trained</span>}>
      <p role="status" className="visually-hidden">{live ? "Exporting." : ended[0] ? SAID[ended[0].state] : ""}</p>
      {live ? (
        <Working item={live} busy={cancel.isPending} onCancel={() => cancel.mutate(live.id)} />
      ) : (
        <Choose offers={offers.data} busy={start.isPending} onStart={(body) => start.mutate(body)} />
      )}
      {start.isError && <div className="mt-4"><ErrorBox problem={toProblem(start.error)} kept="Nothing was started." /></div>}
      {cancel.isError && <div className="mt-4"><ErrorBox problem={toProblem(cancel.error)} /></div>}
      {ended.length > 0 && (
        <ul className="mt-5 grid gap-4 border-t border-edge pt-4">
          {ended.map((item, place) => <li key={item.id} className="min-w-0"><Exported jobId={jobId} item={item} open={place === 0} /></li>)}
        </ul>
      )}
    </Card>
  );
}

const SAID: Record<Export["state"], string> = {
  waiting: "", working: "", done: "The export is done.", failed: "The export failed.", cancelled: "The export was cancelled.",
};

function Choose({ offers, busy, onStart }: { offers: Schemas["ExportOffers"]; busy: boolean; onStart: (body: Schemas["ExportRequest"]) => void }) {
  const [choice, setChoice] = useState<Choice>({
    forms: offers.forms.filter((offer) => offer.form === "merged" && !offer.whyNot).map((offer) => offer.form), type: "f16", push: false, repoId: "", isPrivate: true,
  });
  const [tried, setTried] = useState(false);
  const change = (part: Partial<Choice>) => setChoice((before) => ({ ...before, ...part }));
  const toggle = (form: Form, on: boolean) => change({ forms: on ? [...choice.forms, form] : choice.forms.filter((one) => one !== form) });
  const size = predicted(choice, offers.forms);
  const wrong = problem(choice, offers);
  const repository = choice.push && wrong?.startsWith("Name") ? wrong : undefined;
  const submit = () => {
    setTried(true);
    if (wrong) return;
    onStart({ formats: choice.forms, ggufType: choice.type, ...(choice.push && { hub: { repoId: choice.repoId, private: choice.isPrivate } }) });
  };
  return (
    <form
      className="grid gap-4" noValidate
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <fieldset className="grid gap-x-6 gap-y-3 sm:grid-cols-2">
        <legend className="visually-hidden">Forms</legend>
        {offers.forms.map((offer) => (
          <Check
            key={offer.form} checked={choice.forms.includes(offer.form)} disabled={Boolean(offer.whyNot)} onChange={(on) => toggle(offer.form, on)}
            label={<>{FORMS[offer.form].name}{offer.bytes != null && !offer.whyNot && <span className="num text-low"> {bytes(offer.byType?.[choice.type] ?? offer.bytes)}</span>}</>}
            hint={offer.whyNot ?? FORMS[offer.form].what}
          />
        ))}
      </fieldset>
      {usesGguf(choice.forms) && (
        <div className="sm:max-w-sm">
          <Select label="Numbers in the GGUF file" value={choice.type} onChange={(event) => change({ type: event.target.value as Choice["type"] })}>
            {Object.entries(TYPES).map(([type, words]) => <option key={type} value={type}>{words}</option>)}
          </Select>
        </div>
      )}
      <Check
        label="Also push to the Hugging Face hub" checked={choice.push} disabled={!offers.hubReady} onChange={(push) => change({ push })}
        hint={offers.hubReady ? "Into a new repository; one that has files already is left alone." : "This server has no hub token: set HF_TOKEN in its environment and start it again."}
      />
      {choice.push && (
        <div className="grid items-start gap-3 sm:grid-cols-[minmax(0,24rem)_auto]">
          <TextField label="Repository" placeholder="owner/name" value={choice.repoId} maxLength={140} spellCheck={false} autoComplete="off" error={tried ? repository : undefined} onChange={(event) => change({ repoId: event.target.value.trim() })} />
          <div className="sm:pt-8"><Check label="Private" checked={choice.isPrivate} onChange={(isPrivate) => change({ isPrivate })} /></div>
        </div>
      )}
      <div className="flex flex-wrap items-center gap-x-4 gap-y-2">
        <Button type="submit" look="primary" icon="download" busy={busy} disabled={Boolean(wrong) && !repository}>Export</Button>
        <p className="text-sm text-mid">
          {wrong && !repository ? wrong : size === null ? "Its size is known once it is loaded." : <><span className="num">{bytes(size)}</span> of <span className="num">{bytes(offers.freeBytes)}</span> free</>}
        </p>
      </div>
    </form>
  );
}

function Working({ item, busy, onCancel }: { item: Export; busy: boolean; onCancel: () => void }) {
  const forms = item.request.formats ?? [];
  return (
    <div className="grid gap-3">
      <div className="flex flex-wrap items-center gap-2">
        <Badge tone="hold" icon="clock">{item.state === "waiting" ? "Starting" : "Working"}</Badge>
        <span className="text-sm text-mid">{forms.map((form) => FORMS[form].name).join(", ")}</span>
      </div>
      <Bar value={item.progress ?? 0} label="Export" />
      <div className="flex flex-wrap items-center justify-between gap-3">
        <p className="min-w-0 text-sm break-words text-mid">{item.message || "Starting a worker"}</p>
        <Button look="quiet" icon="close" busy={busy} onClick={onCancel}>Cancel</Button>
      </div>
    </div>
  );
}
