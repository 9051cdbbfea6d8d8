import { useQuery } from "@tanstack/react-query";
import { api, call, type Schemas, toProblem } from "../../lib/api";
import { Badge, type Tone } from "../../ui/Badge";
import { Button } from "../../ui/Button";

const LOOKS: Record<Schemas["ModelCheck"]["status"], [Tone, string]> = {
  open: ["signal", "On the hub"], granted: ["signal", "Access granted"], gated: ["hold", "Terms to accept"],
  missing: ["fault", "Not on the hub"], here: ["signal", "On this machine"], not_asked: ["plain", "Not asked"],
};

/** What the hub says of the base model, asked with the user's token: an approval would be refused where it cannot be had. */
export function ModelCheck({ planId, model }: { planId: string; model: string }) {
  const check = useQuery({
    queryKey: ["model-check", planId, model], staleTime: 60_000, retry: false,
    queryFn: () => call(api.GET("/api/training/plans/{plan_id}/model-check", { params: { path: { plan_id: planId } } })),
  });
  const again = <Button look="quiet" busy={check.isFetching} onClick={() => void check.refetch()}>Ask the hub again</Button>;
  if (check.isError) return <div className="mt-3 text-sm"><p className="text-hold">{toProblem(check.error).detail}</p>{again}</div>;
  const found = check.data;
  if (!found) return null;
  const [tone, word] = LOOKS[found.status];
  return (
    <div role="group" aria-label="Base model on the hub" className="mt-3 grid justify-items-start gap-1 text-sm">
      <Badge tone={tone}>{word}</Badge>
      <p className="break-words text-mid">{found.sentence} {found.nextStep}</p>
      {found.licenceNote && <p className="text-hold">{found.licenceNote}</p>}
      {found.status === "gated" || found.status === "missing" ? again : null}
    </div>
  );
}
