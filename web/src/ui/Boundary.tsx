import { Component, type ReactNode } from "react";
import { toProblem } from "../lib/api";
import { Button } from "./Button";
import { ErrorBox } from "./States";

/** One part that fails says so alone; the rest of the page goes on. A part missing after an upgrade asks for a reload. */
export class Boundary extends Component<{ children: ReactNode; what: string }, { error: unknown }> {
  override state: { error: unknown } = { error: null };

  static getDerivedStateFromError(error: unknown): { error: unknown } {
    return { error };
  }

  override render(): ReactNode {
    if (this.state.error === null) return this.props.children;
    if (/dynamically imported module|Failed to fetch|module script/i.test(String(this.state.error))) {
      return (
        <div role="alert" className="card grid justify-items-start gap-3 p-5">
          <p>KripTik was updated since this page was opened.</p>
          <Button icon="retry" onClick={() => window.location.reload()}>Reload</Button>
        </div>
      );
    }
    const problem = { ...toProblem(this.state.error), detail: `${this.props.what} could not be shown.` };
    return <ErrorBox problem={problem} onRetry={() => this.setState({ error: null })} />;
  }
}
