import type { IconName } from "../../ui/Icon";

export const TITLE = "Train Flagship-Level AI Models";
export const SUBTITLE = "Describe what you want to train in plain English";
export const PLACEHOLDER =
  "Describe what you want to train... e.g., 'Train a model to generate Suno-quality music with expressive vocals'";

export const EXAMPLES: { icon: IconName; kind: string; prompt: string }[] = [
  { icon: "music", kind: "Music", prompt: "Train a model to generate Suno-quality music with expressive vocals" },
  { icon: "video", kind: "Video", prompt: "Fine-tune a video model to generate cinematic 4K footage" },
  { icon: "voice", kind: "Voice", prompt: "Clone my voice from 5 minutes of audio samples" },
  { icon: "code", kind: "Code", prompt: "Train a coding model specialized in React and TypeScript" },
  { icon: "image", kind: "Image", prompt: "Train a model in my art style using 50 reference images" },
];

/** What a person can ask for; the sentence behind each card is a start to edit. */
export const CAPABILITIES: { icon: IconName; title: string; line: string; start: string }[] = [
  { icon: "text", title: "Text", line: "Tone, format and facts of your own documents", start: "Fine-tune a small language model on my documents" },
  { icon: "chat", title: "Chat", line: "An assistant that answers as your team would", start: "Train a support assistant that answers like our team" },
  { icon: "code", title: "Code", line: "Your languages, frameworks and habits", start: "Train a coding model on our TypeScript code base" },
  { icon: "image", title: "Images", line: "A style, a product or a face", start: "Train an image model in my art style" },
  { icon: "video", title: "Video", line: "Motion and look of your footage", start: "Fine-tune a video model on my footage" },
  { icon: "music", title: "Music", line: "Genres, instruments, vocals", start: "Train a model to compose music in my genre" },
  { icon: "voice", title: "Voice", line: "A voice, from minutes of speech", start: "Clone my voice from recordings" },
  { icon: "vectors", title: "Embeddings", line: "Search that knows your domain", start: "Fine-tune an embedding model for search in our knowledge base" },
  { icon: "eye", title: "Vision + language", line: "Questions about your pictures and pages", start: "Fine-tune a model to read our invoices" },
];
