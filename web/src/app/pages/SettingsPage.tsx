import { useMutation, useQuery } from "@tanstack/react-query";
import { Preferences } from "../../features/notices/Preferences";
import { api, call, signedOut, toProblem } from "../../lib/api";
import { bytes, money } from "../../lib/format";
import { useDocumentTitle } from "../../lib/useDocumentTitle";
import { Button } from "../../ui/Button";
import { Card, Facts } from "../../ui/Card";
import { toast } from "../../ui/Toasts";

export function SettingsPage() {
  useDocumentTitle("Settings");
  const info = useQuery({ queryKey: ["info"], queryFn: () => call(api.GET("/api/training/system/info", {})) });
  const disk = useQuery({ queryKey: ["disk"], queryFn: () => call(api.GET("/api/training/system/disk", {})) });
  const out = useMutation({ mutationFn: () => call(api.POST("/api/training/auth/sign-out", {})), onSuccess: () => signedOut.dispatchEvent(new Event("signed-out")), onError: (error) => toast(toProblem(error).detail, "fault") });
  const link = useMutation({
    mutationFn: () => call(api.POST("/api/training/auth/links", {})), onError: (error) => toast(toProblem(error).detail, "fault"),
  });
  return (
    <div className="grid gap-6">
      <h1 className="text-2xl font-semibold">Settings</h1>
      <Preferences />
      <Card title="This server">
        <Facts
          columns={3}
          rows={[
            ["Version", info.data?.version ?? "–"], ["Trains on", info.data?.providers.join(", ") ?? "–"], ["This machine costs", info.data ? `${money(info.data.localPricePerHour)} per hour` : "–"],
            ["Runs at a time", info.data?.localSlots ?? "–"], ["A test may cost", money(info.data?.testAllowanceUsd)], ["Disk", disk.data ? `${bytes(disk.data.runs + disk.data.data + disk.data.cache)} used, ${bytes(disk.data.free)} free` : "–"],
          ]}
        />
      </Card>
      <Card title="Access">
        <p className="mb-3 text-sm text-mid">A sign-in link works once, in any browser that reaches this server.</p>
        {link.data && <p className="num mb-3 rounded-control bg-ink-950 p-3 text-xs break-all">{link.data.url}</p>}
        <div className="flex flex-wrap gap-3">
          <Button icon="plus" busy={link.isPending} onClick={() => link.mutate()}>Make a sign-in link</Button>
          <Button look="quiet" busy={out.isPending} onClick={() => out.mutate()}>Sign out of this browser</Button>
        </div>
      </Card>
    </div>
  );
}
