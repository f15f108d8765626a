import type { ResponseRules } from './provider-definition.ts';

/**
 * The members of an answer, or undefined if it has none to read: truncated, HTML, empty. By content,
 * whatever the content type says; the definition's format is tried first. Never throws.
 */
export function parseAnswerBody(
  text: string,
  format: ResponseRules['format'],
): Record<string, unknown> | undefined {
  const trimmed = text.replace(/^\uFEFF/, '').trim();
  if (trimmed === '' || isHtml(trimmed)) return undefined;
  if (format === 'form') return parseForm(trimmed) ?? parseJsonObject(trimmed);
  return parseJsonObject(trimmed) ?? parseForm(trimmed);
}

/** Pages of proxies and error pages come as HTML whatever was asked for. */
function isHtml(text: string): boolean {
  return text.trimStart().startsWith('<');
}

function parseJsonObject(text: string): Record<string, unknown> | undefined {
  const value = parseJson(text) ?? parseJson(withoutNaN(text));
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject ? (value as Record<string, unknown>) : undefined;
}

/**
 * Python and others write NaN and Infinity, which would cost the whole answer. A text that does not end
 * is taken to the end: trying again at each quote inside it would take minutes for a body of 1 MiB.
 */
function withoutNaN(text: string): string {
  return text.replace(/"(?:[^"\\]+|\\[^])*"?|-?\b(?:NaN|Infinity)\b/g, (piece) =>
    piece.startsWith('"') ? piece : 'null',
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** Of a repeated parameter the first counts (RFC 6749 §3.2 forbids the second). */
function parseForm(text: string): Record<string, unknown> | undefined {
  if (!/^[A-Za-z0-9_.%[\]-]+=/.test(text) || /[\r\n<>{}"]/.test(text)) return undefined;
  return Object.fromEntries([...new URLSearchParams(text)].reverse());
}
