const cut = '…';

/** Controls, marks of direction and the like, line separators, halves of surrogate pairs. */
const unprintable = /[\p{C}\p{Zl}\p{Zp}]/gu;

const plain = /^[\x20-\x7e]*$/;

/**
 * Text of somebody else's choice, fit for a log line: at most `maxCharacters`, and nothing in it that
 * a terminal or a reader of lines would take for more than text.
 */
export function loggableText(text: string, maxCharacters: number): string {
  if (text.length <= maxCharacters && plain.test(text)) return text;
  const head = text.length > maxCharacters ? `${text.slice(0, maxCharacters)}${cut}` : text;
  return head.replaceAll(
    unprintable,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  );
}
