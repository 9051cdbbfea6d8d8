import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, call, type Problem, type Schemas, toProblem } from "../../lib/api";

type Plan = Schemas["TrainingImplementationPlan"];
type Change = Schemas["PlanChange"];

export interface PlanState {
  made: Schemas["Planned"] | undefined;
  problem: Problem | null;
  reload: () => void;
  busy: boolean;
  changes: Change[] | null;
  moved: Set<string>;
  forget: () => void;
  edit: (tile: string, modification: Schemas["PlanModification"]) => Promise<boolean>;
  editProblem: Problem | null;
  say: (words: string) => Promise<boolean>;
  sayProblem: Problem | null;
}

/** A plan and the two ways to change it. An edit by tile and an edit in words answer the same: the plan, and what moved. */
export function usePlan(planId: string): PlanState {
  const client = useQueryClient();
  const key = ["plan", planId];
  const path = { plan_id: planId };
  const query = useQuery({ queryKey: key, queryFn: () => call(api.GET("/api/training/plans/{plan_id}", { params: { path } })) });
  const [changes, setChanges] = useState<Change[] | null>(null);
  const [moved, setMoved] = useState(new Set<string>());
  const take = (plan: Plan, found: Change[], tiles: string[]) => {
    client.setQueryData<Schemas["Planned"]>(key, (before) => before && { ...before, plan });
    void client.invalidateQueries({ queryKey: key });
    setChanges(found);
    setMoved(new Set([...tiles, ...found.map((change) => change.tile)]));
  };
  const byTile = useMutation({
    mutationFn: ({ tile, modification }: { tile: string; modification: Schemas["PlanModification"] }) =>
      call(api.PUT("/api/training/plans/{plan_id}/tiles/{tile_id}", { params: { path: { ...path, tile_id: tile } }, body: { modification } })),
    onSuccess: (data) => take(data.plan, data.changes, data.affectedTiles),
  });
  const byWords = useMutation({
    mutationFn: (words: string) => call(api.POST("/api/training/plans/{plan_id}/modify-with-ai", { params: { path }, body: { nlpModification: words } })),
    onSuccess: (data) => take(data.plan, data.changes, []),
  });
  const settled = (promise: Promise<unknown>): Promise<boolean> => promise.then(() => true, () => false);
  return {
    made: query.data, problem: query.isError ? toProblem(query.error) : null, reload: () => void query.refetch(),
    busy: byTile.isPending || byWords.isPending, changes, moved,
    forget: () => {
      setChanges(null);
      setMoved(new Set());
    },
    edit: (tile, modification) => settled(byTile.mutateAsync({ tile, modification })),
    editProblem: byTile.isError ? toProblem(byTile.error) : null,
    say: (words) => settled(byWords.mutateAsync(words)),
    sayProblem: byWords.isError ? toProblem(byWords.error) : null,
  };
}
