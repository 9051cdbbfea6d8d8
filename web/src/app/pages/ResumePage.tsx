export function ResumePage() { return null; }
