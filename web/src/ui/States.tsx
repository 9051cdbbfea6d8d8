import { type ReactNode, useEffect, useState } from "react";
import { Button } from "./Button";
import { Icon } from "./Icon";
import { ButtonLink } from "./Link";
import type { Problem } from "../lib/api";

const SKELETON_AFTER_MS = 300;

/** Nothing for 300 ms, then a skeleton of the real shape with a spoken status. */
export function Loading({ label, rows = 3 }: { label: string; rows?: number }) {
  const [shown, setShown] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setShown(true), SKELETON_AFTER_MS);
    return () => clearTimeout(timer);
  }, []);
  return (
    <div role="status" className="space-y-3">
      <span className="visually-hidden">{label}</span>
      {shown && Array.from({ length: rows }, (_, row) => <div key={row} className="h-16 rounded-card bg-ink-900" />)}
    </div>
  );
}

export function Empty({ title, action }: { title: string; action?: ReactNode }) {
  return (
    <div className="grid justify-items-center gap-3 rounded-card border border-dashed border-line/50 px-6 py-10 text-center text-mid">
      <p className="max-w-[46ch]">{title}</p>
      {action}
    </div>
  );
}

/** What happened, what to do next, one button. */
export function ErrorBox({ problem, onRetry, kept }: { problem: Problem; onRetry?: () => void; kept?: string }) {
  return (
    <div role="alert" className="rounded-card border border-fault/50 bg-ink-900 p-4 sm:p-5">
      <div className="flex gap-3">
        <Icon name="alert" className="mt-0.5 text-fault" />
        <div className="min-w-0 space-y-1">
          <p className="font-medium break-words">{problem.detail}</p>
          {problem.nextStep && <p className="text-sm text-mid">{problem.nextStep}</p>}
          {kept && <p className="text-sm text-mid">{kept}</p>}
          <p className="num text-xs text-low">{problem.code}</p>
        </div>
      </div>
      {onRetry && <Button icon="retry" className="mt-3" onClick={onRetry}>Try again</Button>}
    </div>
  );
}

/** A whole page whose subject cannot be had: deleted, mistyped, or the server is away. */
export function Missing({ title, problem, onRetry }: { title: string; problem: Problem; onRetry: () => void }) {
  return (
    <div className="grid max-w-2xl gap-4 pt-4">
      <h1 className="text-2xl font-semibold">{title}</h1>
      <ErrorBox problem={problem} {...(problem.status !== 404 && { onRetry })} />
      <ButtonLink to="/jobs" icon="back" className="justify-self-start">All runs</ButtonLink>
    </div>
  );
}
