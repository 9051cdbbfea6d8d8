import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type DragEvent, useEffect, useId, useState } from "react";
import { api, call, toProblem } from "../../lib/api";
import { bytes } from "../../lib/format";
import { Button } from "../../ui/Button";
import { Icon } from "../../ui/Icon";
import { Bar } from "../../ui/Progress";
import { ErrorBox } from "../../ui/States";
import { type Dataset, upload } from "./client";
import { DatasetCard } from "./DatasetCard";

const ACCEPT = ".jsonl,.json,.csv,.tsv,.parquet,.txt,.md,.zip,.gz";

/** A drop zone, the built-in samples and what was uploaded before. `onPick` hears the dataset, or null when it is put aside. */
export function DataPicker({ picked, onPick, compact = false }: { picked: Dataset | null; onPick: (data: Dataset | null) => void; compact?: boolean }) {
  const id = useId();
  const client = useQueryClient();
  const [over, setOver] = useState(false);
  const [share, setShare] = useState(0);
  const [aborter, setAborter] = useState<AbortController | null>(null);
  useEffect(() => () => aborter?.abort(), [aborter]);
  const samples = useQuery({ queryKey: ["samples"], queryFn: () => call(api.GET("/api/training/data/samples", {})), staleTime: 600_000 });
  const earlier = useQuery({ queryKey: ["datasets"], queryFn: () => call(api.GET("/api/training/data", {})) });
  const done = (data: Dataset) => {
    onPick(data);
    void client.invalidateQueries({ queryKey: ["datasets"] });
  };
  const send = useMutation({
    mutationFn: (file: File) => {
      const made = new AbortController();
      setAborter(made);
      setShare(0);
      return upload(file, setShare, made.signal);
    },
    onSuccess: done,
    onSettled: () => setAborter(null),
  });
  const take = useMutation({
    mutationFn: (name: string) => call(api.POST("/api/training/data/samples/{name}", { params: { path: { name } } })),
    onSuccess: done,
  });
  const onDrop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    const file = event.dataTransfer.files[0];
    if (file) send.mutate(file);
  };
  if (picked) return <DatasetCard data={picked} onRemove={() => onPick(null)} onChange={done} />;
  const failed = send.error ?? take.error;
  return (
    <div className="grid gap-3">
      <div
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)} onDrop={onDrop}
        className={`grid justify-items-center gap-2 rounded-card border border-dashed px-4 text-center transition-colors duration-150 ${compact ? "py-5" : "py-7"} ${over ? "border-signal bg-ink-850" : "border-line/60 bg-ink-900/60"}`}
      >
        {send.isPending ? (
          <div className="grid w-full max-w-sm gap-2">
            <p className="text-sm break-words">{share < 1 ? `Sending ${send.variables.name} (${bytes(send.variables.size)})` : "Checking every row"}</p>
            <Bar value={share} label={`Sending ${send.variables.name}`} />
            <Button look="quiet" onClick={() => aborter?.abort()}>Cancel</Button>
          </div>
        ) : (
          <>
            <Icon name="upload" className="text-low" />
            <p className="text-sm text-mid">
              Drop your data here, or{" "}
              <label className="inline-block min-h-6 cursor-pointer rounded-sm text-info underline underline-offset-4 has-[:focus-visible]:outline-2 has-[:focus-visible]:outline-offset-2 has-[:focus-visible]:outline-signal">
                choose a file
                <input
                  type="file" accept={ACCEPT} aria-describedby={`${id}-kinds`} className="sr-only"
                  onChange={(event) => {
                    const file = event.target.files?.[0];
                    event.target.value = "";
                    if (file) send.mutate(file);
                  }}
                />
              </label>
            </p>
            <p id={`${id}-kinds`} className="text-xs text-low">JSONL, JSON, CSV, TSV, Parquet, text or a zip. It is checked before anything is spent.</p>
          </>
        )}
      </div>
      {failed && toProblem(failed).code !== "cancelled" && <ErrorBox problem={toProblem(failed)} kept="Nothing was kept of the file." />}
      <Choices title="Sample data" rows={(samples.data?.samples ?? []).map((s) => ({ id: s.name, name: s.title, line: s.licence, pick: () => take.mutate(s.name) }))} busy={take.isPending} />
      <Choices title="Sent earlier" rows={(earlier.data?.datasets ?? []).filter((d) => d.source === "upload").slice(0, 4).map((d) => ({ id: d.id, name: d.name, line: `${d.rows.toLocaleString("en-US")} rows`, pick: () => onPick(d) }))} busy={false} />
    </div>
  );
}

function Choices({ title, rows, busy }: { title: string; rows: { id: string; name: string; line: string; pick: () => void }[]; busy: boolean }) {
  if (!rows.length) return null;
  return (
    <div className="flex flex-wrap items-center gap-x-3 gap-y-2">
      <span className="text-xs text-low">{title}</span>
      {rows.map((row) => (
        <button
          key={row.id} type="button" disabled={busy} onClick={row.pick}
          className="flex min-h-9 max-w-full items-center gap-2 rounded-full border border-line/60 px-3 text-left text-sm text-mid transition-colors duration-150 hover:bg-ink-850 hover:text-hi"
        >
          <Icon name="data" size={16} className="text-low" />
          <span className="truncate">{row.name}</span>
          <span className="num hidden text-xs text-low sm:inline">{row.line}</span>
        </button>
      ))}
    </div>
  );
}
