import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, call } from "../../lib/api";
import { DataPicker } from "./DataPicker";
import { DatasetCard } from "./DatasetCard";
import type { Dataset } from "./client";

/** The rows of a plan: those attached with what the checks found, or a way to attach some. What is not ready is fixed first. */
export function Attached({ datasetId, onAttach }: { datasetId: string | null; onAttach: (id: string) => void }) {
  const client = useQueryClient();
  const [held, setHeld] = useState<Dataset | null>(null);
  const id = held?.id ?? datasetId;
  const found = useQuery({
    queryKey: ["dataset", id], enabled: Boolean(id) && !held,
    queryFn: () => call(api.GET("/api/training/data/{dataset_id}", { params: { path: { dataset_id: id ?? "" } } })),
  });
  const take = (data: Dataset) => {
    client.setQueryData(["dataset", data.id], data);
    const ready = data.report?.ready ?? true;
    setHeld(ready ? null : data);
    if (ready) onAttach(data.id);
  };
  const shown = held ?? found.data;
  return (
    <div className="grid gap-3">
      {held && <p role="status" className="text-sm text-hold">These rows are attached once what must be fixed is fixed.</p>}
      {shown && <DatasetCard data={shown} onChange={take} onRemove={held ? () => setHeld(null) : undefined} />}
      <DataPicker compact picked={null} onPick={(data) => data && take(data)} />
    </div>
  );
}
