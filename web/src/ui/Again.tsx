import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { api, call, toProblem } from "../lib/api";
import { Button, IconButton } from "./Button";
import { toast } from "./Toasts";

/** Opens a copy of a decided plan: the same choices and rows, to change one and approve anew. */
function useAgain(planId: string) {
  const client = useQueryClient();
  const navigate = useNavigate();
  return useMutation({
    mutationFn: () => call(api.POST("/api/training/plans/{plan_id}/again", { params: { path: { plan_id: planId } } })),
    onSuccess: (made) => {
      client.setQueryData(["plan", made.plan.id], made);
      void navigate({ to: "/plans/$planId", params: { planId: made.plan.id } });
    },
    onError: (error) => toast(toProblem(error).detail, "fault"),
  });
}

export function Again({ planId, className = "" }: { planId: string; className?: string }) {
  const again = useAgain(planId);
  return <Button icon="again" className={className} busy={again.isPending} onClick={() => again.mutate()}>Run again with a change</Button>;
}

export function AgainIcon({ planId, name }: { planId: string; name: string }) {
  const again = useAgain(planId);
  return <IconButton icon="again" label={`Run ${name} again with a change`} disabled={again.isPending} onClick={() => again.mutate()} />;
}
