import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import type { Dataset } from "../../features/data/client";
import { DatasetCard } from "../../features/data/DatasetCard";
import { Words } from "../../features/words/Words";
import { api, call, toProblem } from "../../lib/api";
import { useDocumentTitle } from "../../lib/useDocumentTitle";
import { ButtonLink } from "../../ui/Link";
import { Loading, Missing } from "../../ui/States";

/** A data set: what the checks found and, of recordings, what is said in them. */
export function DataPage() {
  const { datasetId } = useParams({ from: "/data/$datasetId" });
  const client = useQueryClient();
  const key = ["dataset", datasetId];
  const found = useQuery({ queryKey: key, queryFn: () => call(api.GET("/api/training/data/{dataset_id}", { params: { path: { dataset_id: datasetId } } })) });
  useDocumentTitle(found.data?.name ?? "Data");
  const take = (data: Dataset) => {
    client.setQueryData(key, data);
    void client.invalidateQueries({ queryKey: ["datasets"] });
  };
  if (found.isError) return <Missing title="This data cannot be shown" problem={toProblem(found.error)} onRetry={() => void found.refetch()} />;
  if (!found.data) return <Loading label="Loading the data" />;
  return (
    <div className="grid gap-6">
      <header className="flex flex-wrap items-end justify-between gap-4">
        <h1 className="text-2xl font-semibold">Your data</h1>
        <ButtonLink to="/" search={{ data: datasetId }} icon="spark">Train on it</ButtonLink>
      </header>
      <DatasetCard data={found.data} onChange={take} linked={false} />
      {found.data.report?.kind === "sounds" && <Words key={datasetId} data={found.data} onChange={take} />}
    </div>
  );
}
