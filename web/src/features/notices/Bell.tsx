import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { api, call, toProblem } from "../../lib/api";
import { ago } from "../../lib/format";
import { followNotices, type NoticeRow } from "../../lib/notices";
import { useNow } from "../../lib/useNow";
import { Button } from "../../ui/Button";
import { Icon, type IconName } from "../../ui/Icon";
import { toast } from "../../ui/Toasts";

const KEY = ["notifications"];
const LOOKS: Record<NoticeRow["type"], { icon: IconName; tone: string }> = {
  training_alert: { icon: "budget", tone: "text-hold" },
  training_freeze: { icon: "frost", tone: "text-info" },
  training_stage_complete: { icon: "flag", tone: "text-hold" },
  training_complete: { icon: "check", tone: "text-signal" },
  training_error: { icon: "alert", tone: "text-fault" },
};

export function Bell() {
  const client = useQueryClient();
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const list = useQuery({ queryKey: KEY, queryFn: () => call(api.GET("/api/training/notifications", {})), staleTime: 60_000 });
  const signedIn = list.isSuccess;
  useEffect(() => {
    if (!signedIn) return;
    return followNotices((notice) => {
      toast(notice.title, notice.type === "training_error" ? "fault" : "info");
      void client.invalidateQueries({ queryKey: KEY });
    });
  }, [client, signedIn]);
  useEffect(() => {
    if (!open) return;
    const onDown = (event: Event) => {
      if (!box.current?.contains(event.target as Node)) setOpen(false);
    };
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      setOpen(false);
      button.current?.focus();
    };
    document.addEventListener("pointerdown", onDown);
    document.addEventListener("keydown", onKey);
    return () => {
      document.removeEventListener("pointerdown", onDown);
      document.removeEventListener("keydown", onKey);
    };
  }, [open]);
  const unread = list.data?.unread ?? 0;
  return (
    <div ref={box} className="relative">
      <button
        ref={button} type="button" aria-expanded={open} aria-haspopup="true" onClick={() => setOpen(!open)}
        aria-label={unread ? `Notifications, ${unread} unread` : "Notifications"}
        className="relative inline-flex size-11 items-center justify-center rounded-field text-mid transition-colors duration-150 hover:bg-ink-800 hover:text-hi"
      >
        <Icon name="bell" />
        {unread > 0 && (
          <span aria-hidden="true" className="num absolute top-1 right-0.5 min-w-4.5 rounded-full bg-hold px-1 text-center text-xs leading-4.5 font-semibold text-ink-950">
            {unread > 99 ? "99+" : unread}
          </span>
        )}
      </button>
      {open && <Panel rows={list.data?.notifications ?? []} unread={unread} failed={list.isError} close={() => setOpen(false)} />}
    </div>
  );
}

function Panel({ rows, unread, failed, close }: { rows: NoticeRow[]; unread: number; failed: boolean; close: () => void }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const now = useNow();
  const read = useMutation({
    mutationFn: (ids: string[] | null) => call(api.POST("/api/training/notifications/read", { body: { ids } })),
    onSuccess: (data) => client.setQueryData(KEY, data),
    onError: (error) => toast(toProblem(error).detail, "fault"),
  });
  const act = (row: NoticeRow) => {
    if (!row.read) read.mutate([row.id]);
    close();
    void navigate({ href: row.actionUrl });
  };
  return (
    <section aria-label="Notifications" className="glass-over enter fixed inset-x-3 top-15 z-40 max-h-[70dvh] overflow-y-auto p-2 sm:absolute sm:inset-x-auto sm:top-12 sm:right-0 sm:w-96">
      <header className="flex items-center justify-between gap-3 px-2 pb-1">
        <h2 className="text-sm font-semibold">Notifications</h2>
        {unread > 0 && <Button look="quiet" className="px-2" onClick={() => read.mutate(null)}>Mark all read</Button>}
      </header>
      {failed && <p className="px-2 py-6 text-center text-sm text-mid">The notices could not be loaded.</p>}
      {!failed && rows.length === 0 && (
        <p className="px-2 py-6 text-center text-sm text-mid">Nothing yet. Budget alerts, freezes and finished runs appear here.</p>
      )}
      <ul className="grid gap-1">
        {rows.map((row) => (
          <li key={row.id} className={`grid grid-cols-[auto_1fr] gap-x-3 rounded-field px-2 py-2.5 ${row.read ? "" : "bg-ink-850"}`}>
            <Icon name={LOOKS[row.type].icon} className={`mt-0.5 ${LOOKS[row.type].tone}`} />
            <div className="min-w-0">
              <p className="text-sm font-medium break-words">{row.title}{!row.read && <span className="visually-hidden"> (unread)</span>}</p>
              <p className="text-sm break-words text-mid">{row.message}</p>
              <div className="mt-1 flex flex-wrap items-center justify-between gap-2">
                <span className="text-xs text-low">{ago(row.createdAt, now)}</span>
                <Button look="link" className="-mr-2 min-h-9 px-2" onClick={() => act(row)}>{row.actionLabel}</Button>
              </div>
            </div>
          </li>
        ))}
      </ul>
    </section>
  );
}
