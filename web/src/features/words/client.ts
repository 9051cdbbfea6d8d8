/** The words of a data set's recordings: what is known, one clip kept, all examined again. */
import { API, api, call, type Schemas } from "../../lib/api";

export type Dataset = Schemas["Dataset"];
export type WordList = Schemas["TranscriptList"];

/** What is said of one clip; null leaves that as it is. */
export interface Edit {
  text: string | null;
  checked: boolean | null;
}

const at = (id: string) => ({ params: { path: { dataset_id: id } } });

export const wordsKey = (id: string) => ["words", id];
export const readWords = (id: string): Promise<WordList> => call(api.GET("/api/training/data/{dataset_id}/transcripts", at(id)));
/** Writes down what is missing, and counts anew what can be learnt. Takes about a second a sentence. */
export const examine = (id: string): Promise<Dataset> => call(api.POST("/api/training/data/{dataset_id}/transcripts", at(id)));
export const keepWords = (id: string, clip: string, edit: Edit): Promise<Schemas["Transcript"]> =>
  call(api.PATCH("/api/training/data/{dataset_id}/transcripts/{clip}", { params: { path: { dataset_id: id, clip } }, body: edit }));
export const clipUrl = (id: string, clip: string): string => `${API}/data/${id}/clips/${clip}.flac`;
