export function TestPage() { return null; }
