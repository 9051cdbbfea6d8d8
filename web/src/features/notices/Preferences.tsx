import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, call, type Schemas, toProblem } from "../../lib/api";
import { Button } from "../../ui/Button";
import { Card } from "../../ui/Card";
import { Check, TextField } from "../../ui/Field";
import { ErrorBox, Loading } from "../../ui/States";
import { toast } from "../../ui/Toasts";

type Values = Schemas["NotificationPreferences"];
const KEY = ["preferences"];

export function Preferences() {
  const query = useQuery({ queryKey: KEY, queryFn: () => call(api.GET("/api/training/notifications/preferences", {})) });
  if (query.isPending) return <Loading label="Loading the preferences" />;
  if (query.isError) return <ErrorBox problem={toProblem(query.error)} onRetry={() => void query.refetch()} />;
  return <Form start={query.data} />;
}

function Form({ start }: { start: Values }) {
  const client = useQueryClient();
  const [values, setValues] = useState(start);
  const set = (change: Partial<Values>) => setValues({ ...values, ...change });
  const save = useMutation({
    mutationFn: () => call(api.PUT("/api/training/notifications/preferences", { body: values })),
    onSuccess: (found) => {
      client.setQueryData(KEY, found);
      toast("Saved.");
    },
  });
  const test = useMutation({ mutationFn: () => call(api.POST("/api/training/notifications/preferences/test", {})), onError: (error) => toast(toProblem(error).detail, "fault") });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save.mutate();
  };
  return (
    <Card title="Notifications">
      <form onSubmit={submit} className="grid gap-6">
        <fieldset className="grid gap-2 sm:grid-cols-3">
          <legend className="mb-2 text-sm text-mid">Where</legend>
          <Check label="In this page" checked={values.inAppEnabled} onChange={(inAppEnabled) => set({ inAppEnabled })} />
          <Check label="E-mail" checked={values.emailEnabled} onChange={(emailEnabled) => set({ emailEnabled })} />
          <Check label="SMS" checked={values.smsEnabled} onChange={(smsEnabled) => set({ smsEnabled })} />
        </fieldset>
        <fieldset className="grid gap-2 sm:grid-cols-3">
          <legend className="mb-2 text-sm text-mid">When</legend>
          <Check label="A stage is complete" checked={values.alertOnStageComplete} onChange={(alertOnStageComplete) => set({ alertOnStageComplete })} />
          <Check label="A run is complete" checked={values.alertOnComplete} onChange={(alertOnComplete) => set({ alertOnComplete })} />
          <Check label="A run fails" checked={values.alertOnError} onChange={(alertOnError) => set({ alertOnError })} />
        </fieldset>
        <div className="grid gap-3 sm:grid-cols-3">
          <TextField label="Budget alert at" type="number" min={1} max={99} unit="%" required hint="of a new plan's limit" value={Number.isFinite(values.alertOnBudgetPercent) ? values.alertOnBudgetPercent : ""} onChange={(event) => set({ alertOnBudgetPercent: event.target.valueAsNumber })} />
        </div>
        <fieldset className="grid gap-3">
          <legend className="visually-hidden">Quiet hours</legend>
          <Check label="Quiet hours" hint="A freeze is never silenced; in quiet hours only its SMS waits." checked={values.quietHoursEnabled} onChange={(quietHoursEnabled) => set({ quietHoursEnabled })} />
          {values.quietHoursEnabled && (
            <div className="enter grid gap-3 sm:grid-cols-3">
              <TextField label="From" type="time" required value={values.quietHoursStart} onChange={(event) => set({ quietHoursStart: event.target.value })} />
              <TextField label="Until" type="time" required value={values.quietHoursEnd} onChange={(event) => set({ quietHoursEnd: event.target.value })} />
              <TextField label="Time zone" required value={values.timeZone} onChange={(event) => set({ timeZone: event.target.value })} />
            </div>
          )}
        </fieldset>
        {save.isError && <ErrorBox problem={toProblem(save.error)} />}
        <div className="flex flex-wrap gap-3">
          <Button type="submit" look="primary" busy={save.isPending}>Save</Button>
          <Button icon="bell" busy={test.isPending} onClick={() => test.mutate()}>Send a test notice</Button>
        </div>
      </form>
    </Card>
  );
}
