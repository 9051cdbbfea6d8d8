import { type FormEvent, useState } from "react";
import { Button } from "../../ui/Button";
import { TextField } from "../../ui/Field";

/** Signing in is by the one-time link that the server prints; it can also be pasted here. */
export function SignIn({ problem }: { problem?: string | undefined }) {
  const [link, setLink] = useState("");
  const [error, setError] = useState<string>();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const token = /(?:token=)?([\w.~-]{16,})\s*$/.exec(link)?.[1];
    if (!token) setError("This does not look like a sign-in link.");
    else window.location.assign(`/signin?token=${encodeURIComponent(token)}`);
  };
  return (
    <div className="mx-auto grid max-w-md gap-5 pt-8">
      <div className="space-y-2">
        <h1 className="text-2xl font-semibold">Sign in to this server</h1>
        <p className="text-mid">
          {problem === "bad_link"
            ? "That sign-in link was used already or is too old. Each link works once."
            : "This page shows runs and may spend money, so it opens only for its owner."}
        </p>
      </div>
      <ol className="card space-y-3 p-5 text-sm text-mid">
        <li>1. In the terminal where KripTik runs, find the link it printed at start; or start it again with <code className="text-hi">kriptik up</code>.</li>
        <li>2. Open the link in this browser, or paste it here.</li>
      </ol>
      <form onSubmit={submit} className="grid gap-3">
        <TextField
          label="One-time sign-in link" value={link} error={error} autoComplete="off" spellCheck={false}
          onChange={(event) => {
            setLink(event.target.value);
            setError(undefined);
          }}
        />
        <Button type="submit" look="primary" icon="arrow" disabled={!link.trim()}>Sign in</Button>
      </form>
    </div>
  );
}
