import { z } from '@hono/zod-openapi';

/** The 200 of a list: a page of items, named in the document, with one item as its example. */
export function pageResponse<Item extends z.ZodType>(page: {
  /** Of the page in the document. */
  name: string;
  item: Item;
  example: z.output<Item>;
  description?: string;
}) {
  const { name, item, example, description } = page;
  return {
    description: description ?? 'A page; next_cursor is null on the last.',
    content: {
      'application/json': {
        schema: z
          .object({ items: z.array(item), next_cursor: z.string().nullable() })
          .openapi(name),
        example: { items: [example], next_cursor: null },
      },
    },
  };
}
