import { useMutation } from "@tanstack/react-query";
import { type KeyboardEvent, useRef, useState } from "react";
import { toProblem } from "../../lib/api";
import { Badge } from "../../ui/Badge";
import { Button } from "../../ui/Button";
import { Check, TextArea } from "../../ui/Field";
import { type Clip, isUnsure, placeOf, sureness, type Transcript } from "./clips";
import { clipUrl, type Edit, keepWords } from "./client";

/** One clip: its sound, its words, who wrote them, and whether a person read them. Words are kept when they are left. */
export function ClipRow({ dataId, clip, onKept }: { dataId: string; clip: Clip; onKept: (clip: string, kept: Transcript) => void }) {
  const player = useRef<HTMLAudioElement>(null);
  const sent = useRef<string | null>(null);
  const [draft, setDraft] = useState<string | null>(null);
  const [asked, setAsked] = useState<boolean | null>(null); // shown at once, taken back where it is not kept
  const save = useMutation({
    scope: { id: `words-${clip.clip}` },
    mutationFn: (edit: Edit) => keepWords(dataId, clip.clip, edit),
    onSuccess: (kept, edit) => {
      setDraft((now) => (now === edit.text ? null : now));
      onKept(clip.clip, kept);
    },
    onSettled: (_kept, _problem, edit) => setAsked((now) => (now === edit.checked ? null : now)),
  });
  const place = placeOf(clip);
  const changed = draft !== null && draft !== clip.text;
  const send = (edit: Edit) => {
    if (edit.checked !== null) setAsked(edit.checked);
    save.mutate(edit);
  };
  const keep = (checked: boolean | null) => {
    if (!changed && (checked === null || checked === clip.checked)) return;
    if (changed) sent.current = draft;
    send({ text: changed ? draft : null, checked });
  };
  const checked = asked ?? (clip.checked || clip.edited);
  const leave = () => {
    if (draft !== sent.current) keep(null); // what Enter sent already is not sent again
  };
  const onKey = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    if (event.key === "Escape" && changed) setDraft(null);
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) toggle(player.current);
    else {
      keep(true);
      event.currentTarget.closest("li")?.nextElementSibling?.querySelector("textarea")?.focus();
    }
  };
  return (
    <div className="grid gap-3 p-4 md:grid-cols-[15rem_minmax(0,1fr)] md:gap-x-5">
      <div className="grid min-w-0 content-start gap-2">
        <p className="num text-xs break-words text-mid">{place}</p>
        <audio ref={player} controls preload="none" src={clipUrl(dataId, clip.clip)} aria-label={`Listen to ${place}`} onPlay={(event) => hush(event.currentTarget)} className="h-11 w-full" />
      </div>
      <div className="grid min-w-0 content-start gap-2">
        <TextArea
          label={`Words of ${place}`} labelHidden rows={2} maxLength={5000} value={draft ?? clip.text} placeholder="No words: this clip is left out"
          onChange={(event) => setDraft(event.target.value)} onKeyDown={onKey} onBlur={leave}
        />
        <div className="flex flex-wrap items-center gap-x-4 gap-y-2">
          <Author clip={clip} />
          <Check label={<>Checked<span className="visually-hidden">: {place}</span></>} checked={checked} disabled={clip.edited} onChange={keep} />
          <State saving={save.isPending} saved={save.isSuccess && !changed} changed={changed && !save.isError} />
        </div>
        {save.isError && (
          <div role="alert" className="flex flex-wrap items-center gap-x-3 gap-y-1 text-sm text-fault">
            <span className="min-w-0 break-words">Not kept: {toProblem(save.error).detail}</span>
            <Button look="link" icon="retry" onClick={() => send(changed ? { ...save.variables, text: draft } : save.variables)}>Try again<span className="visually-hidden">: {place}</span></Button>
          </div>
        )}
      </div>
    </div>
  );
}

/** Who wrote the words down, and how sure it was. */
function Author({ clip }: { clip: Clip }) {
  if (clip.edited) return <Badge tone="signal" icon="edit">Written by you</Badge>;
  return (
    <span className="flex min-w-0 flex-wrap items-center gap-x-2 gap-y-1">
      {isUnsure(clip) ? <Badge tone="hold" icon="alert">Unsure</Badge> : <Badge icon="model">Written by a model</Badge>}
      <span className="num text-xs break-words text-low">{clip.by}, {sureness(clip)}</span>
    </span>
  );
}

function State({ saving, saved, changed }: { saving: boolean; saved: boolean; changed: boolean }) {
  const word = saving ? "Saving" : changed ? "Not saved yet" : saved ? "Saved" : "";
  return <span className={`text-xs ${changed && !saving ? "text-hold" : "text-mid"}`}>{word}</span>;
}

function toggle(player: HTMLAudioElement | null): void {
  if (!player?.paused) player?.pause();
  else player.play().catch(() => undefined); // the player itself shows that there is no sound
}

/** One clip at a time is heard. */
function hush(playing: HTMLAudioElement): void {
  for (const other of document.querySelectorAll("audio")) if (other !== playing) other.pause();
}
