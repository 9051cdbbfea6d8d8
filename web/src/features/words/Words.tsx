import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useEffect, useId, useMemo, useRef, useState } from "react";
import { toProblem } from "../../lib/api";
import { useNow } from "../../lib/useNow";
import { Button } from "../../ui/Button";
import { Empty, ErrorBox, Loading } from "../../ui/States";
import { ClipRow } from "./ClipRow";
import { type Clip, chosen, clipsOf, type Filter, isUnsure, placeOf, type Transcript } from "./clips";
import { type Dataset, examine, readWords, type WordList, wordsKey } from "./client";

const PAGE = 50;
const LOOK_MS = 2000;

/** What is said in recordings that came without words: heard by a model, listened to and corrected by people. */
export function Words({ data, onChange }: { data: Dataset; onChange: (data: Dataset) => void }) {
  const id = useId();
  const client = useQueryClient();
  const key = wordsKey(data.id);
  const [changes, setChanges] = useState(0);
  const write = useMutation({
    mutationFn: () => examine(data.id),
    onSuccess: (examined) => {
      setChanges(0);
      onChange(examined);
    },
    onSettled: () => client.invalidateQueries({ queryKey: key }),
  });
  const list = useQuery({ queryKey: key, queryFn: () => readWords(data.id), refetchInterval: (query) => (write.isPending || query.state.data?.writing ? LOOK_MS : false) });
  const writing = write.isPending || (list.data?.writing ?? false);
  const wrote = useRef(false);
  useEffect(() => {
    if (wrote.current && !writing) void client.invalidateQueries({ queryKey: ["dataset", data.id] });
    wrote.current = writing;
  }, [writing, client, data.id]);
  const clips = useMemo(() => clipsOf(list.data?.transcripts ?? {}), [list.data]);
  const keep = (clip: string, kept: Transcript) => {
    client.setQueryData<WordList>(key, (held) => held && { ...held, transcripts: { ...held.transcripts, [clip]: kept } });
    setChanges((count) => count + 1);
  };
  return (
    <section aria-labelledby={id} className="grid gap-4">
      <div className="grid gap-1">
        <h2 id={id} className="text-xl font-semibold">Words</h2>
        <p className="max-w-[70ch] text-sm text-mid">What a model heard in recordings that came without words. Listen and correct it: a voice is learnt from these words. Recordings that came with theirs are not shown.</p>
      </div>
      {list.isPending && <Loading label="Loading the words" />}
      {list.isError && <ErrorBox problem={toProblem(list.error)} onRetry={() => void list.refetch()} />}
      {writing && <Writing count={clips.length} />}
      {write.isError && <ErrorBox problem={toProblem(write.error)} kept="What was written down before is kept." />}
      {list.data && clips.length === 0 && !writing && <None data={data} onWrite={() => write.mutate()} />}
      {clips.length > 0 && <Clips dataId={data.id} clips={clips} onKept={keep} />}
      {changes > 0 && !writing && (
        <div className="card flex flex-wrap items-center justify-between gap-3 p-4">
          <p className="min-w-0 flex-1 basis-64 text-sm text-mid">Your {changes === 1 ? "change is" : "changes are"} kept, and what is learnt. What the checks say of these recordings is from before.</p>
          <Button icon="retry" onClick={() => write.mutate()}>Examine again</Button>
        </div>
      )}
    </section>
  );
}

/** A model is at work: how far it is, and for how long. */
function Writing({ count }: { count: number }) {
  const now = useNow();
  const [since] = useState(now);
  const seconds = Math.max(0, Math.round((now - since) / 1000));
  return (
    <div className="card grid gap-1 p-4">
      <p role="status" className="font-medium">The recordings are being listened to</p>
      <p className="num text-sm text-mid">{count} clips have words so far, {seconds} s. It takes about a second a sentence, and goes on without this page.</p>
    </div>
  );
}

/** Nothing to read: why, and what can be done about it. */
function None({ data, onWrite }: { data: Dataset; onWrite: () => void }) {
  const found = Object.fromEntries((data.report?.findings ?? []).map((finding) => [finding.code, finding.count]));
  const left = found.sound_no_words ?? 0;
  if (left) {
    const what = `Nobody says what is spoken in ${left} of the recordings, and no model that hears is at hand on this server. They are left out. Send a table with their words beside them, or try again once a model is there.`;
    return <Empty title={what} action={<Button icon="retry" onClick={onWrite}>Try again</Button>} />;
  }
  if (data.report?.speech) return <Empty title="Every recording came with its words: there is nothing to write down." />;
  if (!found.sound_no_text) {
    const what = "Every recording came with its words. For a voice, a model can tell whether all of them are of one person, where one is at hand.";
    return <Empty title={what} action={<Button icon="voice" onClick={onWrite}>Check the voices</Button>} />;
  }
  const what = `${found.sound_no_text} of the recordings came without words. For a voice, a model can write down what is said in them, where one is at hand.`;
  return <Empty title={what} action={<Button look="primary" icon="voice" onClick={onWrite}>Write the words down</Button>} />;
}

/** The clips that were asked for. What is corrected stays in sight until something else is asked for. */
function Clips({ dataId, clips, onKept }: { dataId: string; clips: Clip[]; onKept: (clip: string, kept: Transcript) => void }) {
  const [filter, setFilter] = useState<Filter>("all");
  const [picked, setPicked] = useState<string[]>([]);
  const [most, setMost] = useState(PAGE);
  const [said, setSaid] = useState("");
  const pick = (wanted: Filter) => {
    setFilter(wanted);
    setPicked(chosen(clips, wanted).map((one) => one.clip));
    setMost(PAGE);
  };
  const byName = useMemo(() => new Map(clips.map((one) => [one.clip, one])), [clips]);
  const shown = filter === "all" ? clips : picked.flatMap((name) => byName.get(name) ?? []);
  const open = clips.filter((one) => !one.checked && !one.edited).length;
  const names: [Filter, ReactNode][] = [["all", `All ${clips.length}`], ["unsure", `Unsure ${clips.filter(isUnsure).length}`], ["unchecked", `Not checked ${open}`]];
  return (
    <>
      <div className="flex flex-wrap items-center justify-between gap-x-4 gap-y-2">
        <div role="group" aria-label="Which clips to show" className="flex flex-wrap gap-2">
          {names.map(([name, title]) => (
            <Button key={name} look={filter === name ? "plain" : "quiet"} {...(filter === name && { icon: "check" as const })} aria-pressed={filter === name} onClick={() => pick(name)}>{title}</Button>
          ))}
        </div>
        <p className="hidden text-xs text-low md:block"><kbd>Enter</kbd> keeps the words and goes on, <kbd>Ctrl+Enter</kbd> plays, <kbd>Esc</kbd> takes a change back</p>
      </div>
      <p role="status" className="visually-hidden">{said}</p>
      {shown.length === 0 && <Empty title={filter === "unsure" ? "No clip is unsure." : "Every clip is checked."} action={<Button onClick={() => pick("all")}>Show all</Button>} />}
      {shown.length > 0 && (
        <ul className="card divide-y divide-edge">
          {shown.slice(0, most).map((one) => (
            <li key={one.clip}>
              <ClipRow dataId={dataId} clip={one} onKept={(clip, kept) => {
                setSaid(`Saved: ${placeOf(kept)}`);
                onKept(clip, kept);
              }} />
            </li>
          ))}
        </ul>
      )}
      {shown.length > most && <Button onClick={() => setMost(most + PAGE)}>Show more of {shown.length}</Button>}
    </>
  );
}
