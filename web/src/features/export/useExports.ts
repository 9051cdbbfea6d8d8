import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { api, call, type Schemas } from "../../lib/api";

export type Export = Schemas["ExportView"];
const POLL_MS = 1000;

export const isLive = (item: Export): boolean => item.state === "waiting" || item.state === "working";

/** What can be exported of a run, what was, and the one that is under way, followed until it ends. */
export function useExports(jobId: string) {
  const client = useQueryClient();
  const path = { job_id: jobId };
  const key = ["exports", jobId];
  const offers = useQuery({
    queryKey: [...key, "offers"], staleTime: 30_000,
    queryFn: () => call(api.GET("/api/training/jobs/{job_id}/exports/offers", { params: { path } })),
  });
  const list = useQuery({
    queryKey: key, staleTime: 0,
    queryFn: async () => (await call(api.GET("/api/training/jobs/{job_id}/exports", { params: { path } }))).exports,
    refetchInterval: (query) => (query.state.data?.some(isLive) ? POLL_MS : false),
  });
  const again = () => client.invalidateQueries({ queryKey: key });
  const start = useMutation({
    mutationFn: (body: Schemas["ExportRequest"]) => call(api.POST("/api/training/jobs/{job_id}/exports", { params: { path }, body })), onSuccess: again,
  });
  const cancel = useMutation({
    mutationFn: (id: string) => call(api.DELETE("/api/training/jobs/{job_id}/exports/{export_id}", { params: { path: { ...path, export_id: id } } })), onSuccess: again,
  });
  return { offers, list, start, cancel };
}
