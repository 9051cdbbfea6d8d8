import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { api, call, type Schemas } from "../../lib/api";

type Session = Schemas["TestSession"];
const POLL_MS = 1500;

/** A temporary deployment for one checkpoint (or the result): started on demand, watched until it is ready. */
export function useSession(jobId: string, checkpointId: string | null) {
  const client = useQueryClient();
  const key = ["test-session", jobId, checkpointId ?? "result"];
  const session = useQuery<Session | null>({
    queryKey: key, staleTime: 0,
    queryFn: async () => {
      const known = client.getQueryData<Session | null>(key);
      if (!known || known.state === "ended" || known.state === "failed") return known ?? null;
      return call(api.GET("/api/training/test/sessions/{session_id}", { params: { path: { session_id: known.id } } }));
    },
    refetchInterval: (query) => (query.state.data?.state === "starting" ? POLL_MS : query.state.data?.state === "ready" ? 15_000 : false),
  });
  const take = (found: Session) => client.setQueryData(key, found);
  const start = useMutation({
    mutationFn: () => call(api.POST("/api/training/test/deploy", { body: { jobId, checkpointId, expiryMinutes: 10 } })), onSuccess: take,
  });
  const extend = useMutation({
    mutationFn: (id: string) => call(api.POST("/api/training/test/sessions/{session_id}/extend", { params: { path: { session_id: id } }, body: { minutes: 10 } })), onSuccess: take,
  });
  const end = useMutation({
    mutationFn: (id: string) => call(api.DELETE("/api/training/test/sessions/{session_id}", { params: { path: { session_id: id } } })), onSuccess: take,
  });
  return { session: session.data ?? null, start, extend, end };
}
