import { QueryClient } from "@tanstack/react-query";
import { ApiError } from "../lib/api";

/** Answers that will not change by asking again are not asked again. */
export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      retry: (count, error) => count < 2 && (!(error instanceof ApiError) || error.problem.status === 0 || error.problem.status >= 500),
    },
  },
});
