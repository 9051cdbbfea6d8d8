import { useMutation, useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { DataPicker } from "../../features/data/DataPicker";
import type { Dataset } from "../../features/data/client";
import { JobRow } from "../../features/jobs/JobRow";
import { PromptBox } from "../../features/landing/PromptBox";
import { Capabilities, Examples } from "../../features/landing/Starters";
import { SUBTITLE, TITLE } from "../../features/landing/words";
import { Generation } from "../../features/plan/Generation";
import { api, call, type Schemas, toProblem } from "../../lib/api";
import { useDocumentTitle } from "../../lib/useDocumentTitle";
import { Button } from "../../ui/Button";
import { ButtonLink } from "../../ui/Link";
import { Empty, ErrorBox, Loading } from "../../ui/States";
import { queries } from "../queries";

const DRAFT = "kriptik-draft";
const RECENT = 4;

export function Landing() {
  useDocumentTitle("Train a model");
  const navigate = useNavigate();
  const search = useSearch({ from: "/" });
  const [prompt, setPrompt] = useState(() => search.prompt ?? sessionStorage.getItem(DRAFT) ?? "");
  const [picked, setPicked] = useState<Dataset | null | undefined>(undefined);
  const named = useQuery({
    queryKey: ["dataset", search.data], enabled: Boolean(search.data),
    queryFn: () => call(api.GET("/api/training/data/{dataset_id}", { params: { path: { dataset_id: search.data ?? "" } } })),
  });
  const data = picked === undefined ? (named.data ?? null) : picked;
  const [showData, setShowData] = useState(Boolean(search.data));
  const [made, setMade] = useState<Schemas["Planned"] | null>(null);
  const plan = useMutation({
    mutationFn: (words: string) =>
      call(api.POST("/api/training/parse-intent", { body: { prompt: words, context: { existingModel: null, existingData: data?.id ?? null } } })),
    onSuccess: (planned) => {
      queries.setQueryData(["plan", planned.plan.id], planned);
      setMade(planned);
    },
  });
  useEffect(() => sessionStorage.setItem(DRAFT, prompt), [prompt]);
  const pick = (words: string) => {
    setPrompt(words);
    const field = document.querySelector<HTMLTextAreaElement>("main textarea");
    field?.focus();
    field?.scrollIntoView({ block: "center", behavior: "smooth" });
  };
  const open = () => {
    sessionStorage.removeItem(DRAFT);
    if (made) void navigate({ to: "/plans/$planId", params: { planId: made.plan.id } });
  };
  if (plan.isPending || made) {
    return <Generation prompt={prompt} made={made} onDone={open} onCancel={() => plan.reset()} />;
  }
  return (
    <div className="grid gap-12 sm:gap-16">
      <section className="mx-auto grid w-full max-w-4xl gap-6 pt-4 sm:gap-8 sm:pt-12">
        <div className="space-y-3 text-center">
          <h1 className="text-3xl font-semibold tracking-[-0.025em] sm:text-4xl">{TITLE}</h1>
          <p className="text-base text-mid sm:text-lg">{SUBTITLE}</p>
        </div>
        <PromptBox
          value={prompt} onChange={setPrompt} onSubmit={() => plan.mutate(prompt)}
          error={plan.isError && <ErrorBox problem={toProblem(plan.error)} kept="Your words are still in the field." />}
        >
          <Button look="quiet" icon={data ? "check" : "data"} aria-expanded={showData} onClick={() => setShowData(!showData)} className="max-w-full">
            <span className="truncate">{data ? data.name : "Add your data"}</span>
          </Button>
          <p className="hidden text-xs text-low md:block">Nothing runs or spends before you approve the plan.</p>
        </PromptBox>
        {showData && <div className="enter"><DataPicker picked={data} onPick={setPicked} /></div>}
        <Examples onPick={pick} />
      </section>
      <Recent />
      <Capabilities onPick={pick} />
    </div>
  );
}

function Recent() {
  const list = useQuery({ queryKey: ["jobs", "recent"], queryFn: () => call(api.GET("/api/training/jobs", { params: { query: { limit: RECENT } } })) });
  return (
    <section aria-labelledby="recent" className="grid gap-4">
      <div className="flex items-center justify-between gap-4">
        <h2 id="recent" className="text-xl font-semibold">Recent runs</h2>
        {(list.data?.jobs.length ?? 0) > 0 && <ButtonLink to="/jobs" look="quiet" icon="list">All runs</ButtonLink>}
      </div>
      {list.isPending && <Loading label="Loading recent runs" rows={2} />}
      {list.isError && toProblem(list.error).status !== 401 && <ErrorBox problem={toProblem(list.error)} onRetry={() => void list.refetch()} />}
      {list.data?.jobs.length === 0 && <Empty title="Your runs appear here, with their progress, cost and result. Describe one above to begin." />}
      <ul className="grid gap-2">{list.data?.jobs.map((job) => <li key={job.id}><JobRow job={job} /></li>)}</ul>
    </section>
  );
}
