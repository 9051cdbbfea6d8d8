import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, call, type Schemas, toProblem } from "../../lib/api";
import { duration } from "../../lib/format";
import { useNow } from "../../lib/useNow";
import { Badge } from "../../ui/Badge";
import { Button } from "../../ui/Button";
import { Disclosure } from "../../ui/Disclosure";
import { TextArea, TextField } from "../../ui/Field";
import { ErrorBox } from "../../ui/States";
import { Compared } from "./Compared";
import { PictureField } from "./PictureField";
import { useSession } from "./useSession";

/**
 * Asks base and tuned the same, side by side. The session starts with the first question and ends by itself. `first` is offered until
 * something is typed; what was typed and answered stays when other weights are chosen.
 */
export function Tester({
  jobId, checkpointId, weights, capability, first = "",
}: { jobId: string; checkpointId: string | null; weights: string; capability: string; first?: string }) {
  const code = capability === "code_generation";
  const { session, start, extend, end } = useSession(jobId, checkpointId);
  const [typed, setTyped] = useState<string | null>(null);
  const prompt = typed ?? first;
  const [picture, setPicture] = useState("");
  const [system, setSystem] = useState("");
  const [temperature, setTemperature] = useState(0);
  const [maxTokens, setMaxTokens] = useState(128);
  const [kept, setKept] = useState<{ weights: string; comparison: Schemas["Comparison"] }[]>([]);
  const live = session?.state === "ready" || session?.state === "starting";
  const ask = useMutation({
    mutationFn: async (asked: string) => {
      const used = live && session ? session : await start.mutateAsync();
      const comparison = await call(api.POST("/api/training/test/compare", {
        body: {
          sessionId: used.id,
          request: { target: "tuned", systemPrompt: system || null, maxTokens, temperature, seed: 0, imageInput: picture || null, ...(code ? { codeInput: prompt } : { textPrompt: prompt }) },
        },
      }));
      return { weights: asked, comparison };
    },
    onSuccess: (found) => setKept((before) => [found, ...before]),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (prompt.trim() && !ask.isPending) ask.mutate(weights);
  };
  const problem = ask.isError ? toProblem(ask.error) : session?.state === "failed" ? toProblem({ code: "session_failed", detail: session.error ?? "The test session failed.", nextStep: "Ask again to start a new one." }) : null;
  return (
    <div className="grid gap-4">
      <form onSubmit={submit} className="grid gap-3">
        <TextArea
          label={code ? "Code or question" : "Ask both models"} rows={3} value={prompt} maxLength={100_000} spellCheck={!code} className={code ? "num" : ""}
          onChange={(event) => setTyped(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) event.currentTarget.form?.requestSubmit();
          }}
          hint="Ctrl + Enter asks."
        />
        {capability === "multimodal" && <PictureField value={picture} onChange={setPicture} />}
        <Disclosure plain title="Settings">
          <div className="grid gap-3 sm:grid-cols-[1fr_9rem_9rem]">
            <TextField label="System prompt" value={system} maxLength={20_000} onChange={(event) => setSystem(event.target.value)} />
            <TextField label="Temperature" type="number" min={0} max={5} step="any" value={Number.isFinite(temperature) ? temperature : ""} onChange={(event) => setTemperature(event.target.valueAsNumber)} hint="0 repeats itself" />
            <TextField label="Most tokens" type="number" min={1} max={4096} value={Number.isFinite(maxTokens) ? maxTokens : ""} onChange={(event) => setMaxTokens(event.target.valueAsNumber)} />
          </div>
        </Disclosure>
        <div className="flex flex-wrap items-center justify-between gap-3">
          <Button type="submit" look="primary" icon="compare" busy={ask.isPending} disabled={!prompt.trim()}>{ask.isPending ? "Asking both" : "Ask both"}</Button>
          {session && live && <SessionLine session={session} onExtend={() => extend.mutate(session.id)} onEnd={() => end.mutate(session.id)} />}
        </div>
      </form>
      {ask.isPending && <p role="status" className="text-sm text-mid">{session?.state === "ready" ? "Base first, then tuned." : "Loading the weights. The first answer takes longer."}</p>}
      {problem && <ErrorBox problem={problem} kept="Your question is still in the field." />}
      {kept.map((item) => <Compared key={item.comparison.id} comparison={item.comparison} weights={item.weights} />)}
    </div>
  );
}

function SessionLine({ session, onExtend, onEnd }: { session: Schemas["TestSession"]; onExtend: () => void; onEnd: () => void }) {
  const now = useNow();
  const left = (Date.parse(session.expiresAt) - now) / 1000;
  return (
    <div className="flex flex-wrap items-center gap-2 text-xs text-low">
      <Badge tone={session.state === "ready" ? "signal" : "hold"} icon={session.state === "ready" ? "check" : "clock"}>{session.state === "ready" ? "Session ready" : "Session starting"}</Badge>
      <span className="num">ends in {duration(left)}</span>
      <Button look="quiet" className="min-h-9 px-2.5" onClick={onExtend}>+10 min</Button>
      <Button look="quiet" className="min-h-9 px-2.5" onClick={onEnd}>End</Button>
    </div>
  );
}
