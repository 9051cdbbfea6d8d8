import { useSearch } from "@tanstack/react-router";
import { SignIn } from "../../features/access/SignIn";

export function SignInPage() {
  const { problem } = useSearch({ from: "/sign-in" });
  return <SignIn problem={problem} />;
}
