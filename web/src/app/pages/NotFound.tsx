import { ButtonLink } from "../../ui/Link";

export function NotFound() {
  return (
    <div className="grid justify-items-start gap-4 pt-10">
      <h1 className="text-2xl font-semibold">There is no such page</h1>
      <p className="text-mid">The address may be mistyped, or the run or plan it named was deleted.</p>
      <ButtonLink to="/" icon="back">Back to the start</ButtonLink>
    </div>
  );
}
