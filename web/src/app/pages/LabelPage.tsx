import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { useEffect } from "react";
import { type Better, finish, judge, openPairs } from "../../features/labelling/client";
import { said } from "../../features/labelling/keys";
import { toProblem } from "../../lib/api";
import { useDocumentTitle } from "../../lib/useDocumentTitle";
import { Button } from "../../ui/Button";
import { Empty, ErrorBox, Loading, Missing } from "../../ui/States";

/** Two answers side by side: which is better? By button or by key; nobody is told which came from where. */
export function LabelPage() {
  const { setId } = useParams({ from: "/label/$setId" });
  const cache = useQueryClient();
  const key = ["pairs", setId];
  const pairs = useQuery({ queryKey: key, queryFn: () => openPairs(setId) });
  const saying = useMutation({
    mutationFn: (better: Better) => judge(setId, pairs.data?.pairs[0]?.index ?? 0, better),
    onSuccess: () => cache.invalidateQueries({ queryKey: key }),
  });
  const done = useMutation({ mutationFn: () => finish(setId) });
  useDocumentTitle("Compare answers");
  const pair = pairs.data?.pairs[0];
  const { mutate, isPending } = saying;
  const waiting = isPending || pairs.isFetching || !pair;
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const better = said(event.key);
      const typing = event.target instanceof HTMLElement && /^(INPUT|TEXTAREA|SELECT|BUTTON)$/.test(event.target.tagName) && event.key === " ";
      if (waiting || better === null || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      mutate(better);
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [waiting, mutate]);
  if (pairs.isError) return <Missing title="These pairs cannot be shown" problem={toProblem(pairs.error)} onRetry={() => void pairs.refetch()} />;
  if (!pairs.data) return <Loading label="Loading the pairs" />;
  return (
    <div className="grid gap-6">
      <header className="grid gap-2">
        <h1 className="text-2xl font-semibold">Which answer is better?</h1>
        <p className="text-mid" role="status">{pairs.data.labelled} of {pairs.data.total} compared</p>
      </header>
      {pair ? (
        <>
          <p className="max-w-[80ch] rounded-card bg-ink-900 p-4 whitespace-pre-wrap">{pair.prompt}</p>
          <div className="grid gap-4 md:grid-cols-2">
            {(["a", "b"] as const).map((side) => (
              <section key={side} aria-label={`Answer ${side.toUpperCase()}`} className="card grid content-between gap-4 p-4">
                <p className="break-words whitespace-pre-wrap">{pair[side]}</p>
                <Button disabled={waiting} onClick={() => mutate(side)}>{side === "a" ? "Left is better (←)" : "Right is better (→)"}</Button>
              </section>
            ))}
          </div>
          <div className="flex flex-wrap gap-3">
            <Button look="quiet" disabled={waiting} onClick={() => mutate("tie")}>Equally good (T)</Button>
            <Button look="quiet" disabled={waiting} onClick={() => mutate("skip")}>Skip (S)</Button>
          </div>
        </>
      ) : <Empty title="All pairs are compared." />}
      {saying.isError && <ErrorBox problem={toProblem(saying.error)} />}
      {done.isError && <ErrorBox problem={toProblem(done.error)} />}
      {done.data ? <p role="status">Kept as a data set: attach it to a plan that learns from preferences.</p> : (
        <Button look="quiet" className="justify-self-start" disabled={done.isPending || pairs.data.labelled === 0} onClick={() => done.mutate()}>Make a data set of the comparisons</Button>
      )}
    </div>
  );
}
