/** The one way to the server: typed by the generated schema, one problem shape for every error. */
import createClient, { type Middleware } from "openapi-fetch";
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

export const API = "/api/training";
const CSRF_COOKIE = "kriptik_csrf";
const UNSAFE = new Set(["POST", "PUT", "PATCH", "DELETE"]);

export function csrfToken(): string {
  const found = document.cookie.split("; ").find((part) => part.startsWith(`${CSRF_COOKIE}=`));
  return found ? decodeURIComponent(found.slice(CSRF_COOKIE.length + 1)) : "";
}

const withCsrf: Middleware = {
  onRequest({ request }) {
    if (UNSAFE.has(request.method)) request.headers.set("x-csrf-token", csrfToken());
    return request;
  },
};

export const api = createClient<paths>({ baseUrl: "" });
api.use(withCsrf);

/** Announces that a request was answered 401: the shell then shows the sign-in page. */
export const signedOut = new EventTarget();

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
  if (settled.response.status === 401) signedOut.dispatchEvent(new Event("signed-out"));
  throw new ApiError(toProblem(settled.error, settled.response.status));
}

export function toProblem(error: unknown, status = 0): Problem {
  if (error instanceof ApiError) return error.problem;
  if (error instanceof Error) {
    return { code: "page_error", detail: "This part of the page failed.", nextStep: "Reload it; nothing on the server is affected.", status };
  }
  const body = (typeof error === "object" && error !== null ? error : {}) as Partial<Problem>;
  return {
    code: body.code ?? `http_${status}`, detail: body.detail ?? `The server answered ${status}.`, status,
    ...(body.nextStep != null && { nextStep: body.nextStep }), ...(body.fields !== undefined && { fields: body.fields }),
  };
}
