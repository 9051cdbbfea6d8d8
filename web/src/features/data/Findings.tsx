import { useMutation } from "@tanstack/react-query";
import { api, call, type Schemas, toProblem } from "../../lib/api";
import { sentence, words } from "../../lib/format";
import { Badge, type Tone } from "../../ui/Badge";
import { Button } from "../../ui/Button";
import type { IconName } from "../../ui/Icon";
import { ErrorBox } from "../../ui/States";
import type { Dataset } from "./client";

type Report = Schemas["DataReport"];

const LOOKS: Record<string, { tone: Tone; icon: IconName; word: string }> = {
  error: { tone: "fault", icon: "alert", word: "Must be fixed" },
  warning: { tone: "hold", icon: "alert", word: "Look at this" },
  info: { tone: "plain", icon: "info", word: "Noted" },
};
const SHOWN = 6;

/** What a fix does, in words: drops say so, the others mend. */
const fixName = (fix: string): string => (fix.startsWith("drop_") ? `Leave out rows: ${words(fix.slice(5))}` : sentence(words(fix)));

/** What the checks found, each with its fix; the fixes that were chosen can be taken back. The file itself stays as it is. */
export function Findings({ data, report, onChange }: { data: Dataset; report: Report; onChange?: (data: Dataset) => void }) {
  const fixes = report.fixes ?? [];
  const put = useMutation({
    mutationFn: (wanted: string[]) =>
      call(api.PUT("/api/training/data/{dataset_id}/fixes", { params: { path: { dataset_id: data.id } }, body: { fixes: wanted, capability: null } })),
    onSuccess: (changed) => onChange?.(changed),
  });
  const offered = (report.findings ?? []).flatMap((finding) => (finding.fix && !finding.fixed ? [finding.fix] : []));
  return (
    <div className="grid gap-3">
      {(report.findings ?? []).length > 0 && (
        <ul className="grid gap-2">
          {(report.findings ?? []).slice(0, SHOWN).map((finding) => {
            const look = finding.fixed ? { tone: "signal" as const, icon: "check" as const, word: "Fixed" } : (LOOKS[finding.severity] ?? { tone: "plain" as const, icon: "info" as const, word: finding.severity });
            const fix = finding.fixed ? null : finding.fix;
            return (
              <li key={`${finding.code}-${finding.fixed ? "fixed" : "open"}`} className="flex flex-wrap items-start gap-x-3 gap-y-1 text-sm text-mid">
                <Badge tone={look.tone} icon={look.icon}>{look.word}</Badge>
                <span className="min-w-0 flex-1 basis-60 break-words">{finding.sentence}</span>
                {onChange && fix && <Button look="link" busy={put.isPending} onClick={() => put.mutate([...fixes, fix])}>Fix<span className="visually-hidden">: {fixName(fix)}</span></Button>}
              </li>
            );
          })}
        </ul>
      )}
      {onChange && (offered.length > 1 || fixes.length > 0) && (
        <div className="flex flex-wrap items-center gap-2">
          {offered.length > 1 && <Button busy={put.isPending} onClick={() => put.mutate([...new Set([...fixes, ...offered])])}>Fix all</Button>}
          {fixes.map((fix) => (
            <Button key={fix} look="quiet" icon="close" busy={put.isPending} onClick={() => put.mutate(fixes.filter((one) => one !== fix))}>
              <span className="visually-hidden">Take back: </span>{fixName(fix)}
            </Button>
          ))}
        </div>
      )}
      {onChange && fixes.length > 0 && <p className="text-xs text-low">Kept with the data: the same file and fixes give the same rows. The file stays as it is.</p>}
      {put.isError && <ErrorBox problem={toProblem(put.error)} kept="The fixes are as they were." />}
    </div>
  );
}
