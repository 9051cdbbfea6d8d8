/** The one way to the server: typed by the generated schema, one problem shape for every error. */
import createClient from "openapi-fetch";
import type { components, paths } from "../api/schema";

export type Schemas = components["schemas"];

export interface Problem {
  code: string;
  detail: string;
  nextStep?: string;
  status: number;
  fields?: Record<string, unknown>;
}

export class ApiError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }
}

export const api = createClient<paths>({ baseUrl: "", headers: { "X-KripTik-CSRF": "1" } });

const OFFLINE: Problem = {
  code: "offline", detail: "The server cannot be reached.", nextStep: "Your runs go on without this page. It reconnects by itself.", status: 0,
};

/** Unwraps an openapi-fetch answer; every failure becomes an ApiError with the server's own sentence. */
export async function call<T>(answer: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  let settled;
  try {
    settled = await answer;
  } catch {
    throw new ApiError(OFFLINE);
  }
  if (settled.response.ok) return settled.data as T;
  throw new ApiError(toProblem(settled.error, settled.response.status));
}

export function toProblem(error: unknown, status = 0): Problem {
  if (error instanceof ApiError) return error.problem;
  const body = (typeof error === "object" && error !== null ? error : {}) as Partial<Problem>;
  return {
    code: body.code ?? `http_${status}`, detail: body.detail ?? `The server answered ${status}.`, status,
    ...(body.nextStep !== undefined && { nextStep: body.nextStep }), ...(body.fields !== undefined && { fields: body.fields }),
  };
}
