"use strict";
/* Carries out the programs that iaemu_likelihood/explorer/program.py writes: operations on tensors,
   named as in torch. It knows nothing of what is computed. */

const Program = (() => {
  /* A tensor is a view of numbers: strides may be 0 where an axis is repeated. */
  function view(data, shape, strides, offset) {
    return { data, shape, strides, offset };
  }

  function stridesOf(shape) {
    const strides = new Array(shape.length);
    let size = 1;
    for (let i = shape.length - 1; i >= 0; i--) {
      strides[i] = size;
      size *= shape[i];
    }
    return strides;
  }

  function sizeOf(shape) {
    return shape.reduce((a, b) => a * b, 1);
  }

  function full(data, shape) {
    return view(data, shape, stridesOf(shape), 0);
  }

  /* The numbers in their order, without a copy where they lie so already. */
  function numbers(x) {
    const size = sizeOf(x.shape);
    const strides = stridesOf(x.shape);
    if (x.strides.every((stride, i) => stride === strides[i] || x.shape[i] === 1)) {
      return x.data.subarray(x.offset, x.offset + size);
    }
    const result = new Float64Array(size);
    each(x.shape, [x], (i, a) => {
      result[i] = x.data[a];
    });
    return result;
  }

  /* Call f with the place in the result and in each of the views, which have the same shape. */
  function each(shape, views, f) {
    const n = shape.length;
    const size = sizeOf(shape);
    const index = new Array(n).fill(0);
    let a = views[0].offset;
    let b = views.length > 1 ? views[1].offset : 0;
    for (let i = 0; i < size; i++) {
      f(i, a, b);
      for (let axis = n - 1; axis >= 0; axis--) {
        index[axis]++;
        a += views[0].strides[axis];
        if (views.length > 1) b += views[1].strides[axis];
        if (index[axis] < shape[axis]) break;
        a -= views[0].strides[axis] * shape[axis];
        if (views.length > 1) b -= views[1].strides[axis] * shape[axis];
        index[axis] = 0;
      }
    }
  }

  function place(axis, n) {
    return axis < 0 ? axis + n : axis;
  }

  function expand(x, shape) {
    const ahead = shape.length - x.shape.length;
    const strides = shape.map((size, i) => {
      const k = i - ahead;
      if (k < 0 || (x.shape[k] === 1 && size !== 1)) return 0;
      return x.strides[k];
    });
    const sizes = shape.map((size, i) => (size === -1 ? x.shape[i - ahead] : size));
    return view(x.data, sizes, strides, x.offset);
  }

  function together(a, b) {
    const n = Math.max(a.length, b.length);
    return Array.from({ length: n }, (_, i) => {
      const x = a[i - n + a.length] ?? 1;
      const y = b[i - n + b.length] ?? 1;
      return x === 1 ? y : x;
    });
  }

  function tensorOf(x) {
    return typeof x === "number" ? full(new Float64Array([x]), []) : x;
  }

  function onEach(f) {
    return (x) => {
      const values = numbers(x);
      const result = new Float64Array(values.length);
      for (let i = 0; i < values.length; i++) result[i] = f(values[i]);
      return full(result, x.shape);
    };
  }

  function onPairs(f) {
    return (x, y) => {
      const a = tensorOf(x);
      const b = tensorOf(y);
      const shape = together(a.shape, b.shape);
      const views = [expand(a, shape), expand(b, shape)];
      const result = new Float64Array(sizeOf(shape));
      each(shape, views, (i, j, k) => {
        result[i] = f(a.data[j], b.data[k]);
      });
      return full(result, shape);
    };
  }

  /* Products of matrices, (k, n, m) and (k, m, p), added to what result holds. */
  function multiply(a, b, result, k, n, m, p) {
    const x = numbers(a);
    const y = numbers(b);
    for (let which = 0; which < k; which++) {
      for (let row = 0; row < n; row++) {
        const to = (which * n + row) * p;
        for (let inner = 0; inner < m; inner++) {
          const factor = x[(which * n + row) * m + inner];
          if (factor === 0) continue;
          const from = (which * m + inner) * p;
          for (let column = 0; column < p; column++) result[to + column] += factor * y[from + column];
        }
      }
    }
  }

  function product(a, b, added) {
    const isBatch = a.shape.length === 3;
    const [k, n, m] = isBatch ? a.shape : [1, ...a.shape];
    const p = b.shape[b.shape.length - 1];
    const shape = isBatch ? [k, n, p] : [n, p];
    const result = added ? numbers(expand(added, shape)).slice() : new Float64Array(k * n * p);
    const sums = result instanceof Float64Array ? result : Float64Array.from(result);
    multiply(a, b, sums, k, n, m, p);
    return full(sums, shape);
  }

  const add = onPairs((x, y) => x + y);
  const subtract = onPairs((x, y) => x - y);
  const times = onPairs((x, y) => x * y);
  const smaller = onPairs(Math.min);
  const larger = onPairs(Math.max);

  function clamp(x, least, most) {
    let result = x;
    if (least !== null && least !== undefined) result = larger(result, least);
    if (most !== null && most !== undefined) result = smaller(result, most);
    return result;
  }

  function select(x, axis, index) {
    const at = place(axis, x.shape.length);
    const without = (list) => list.filter((_, i) => i !== at);
    const offset = x.offset + place(index, x.shape[at]) * x.strides[at];
    return view(x.data, without(x.shape), without(x.strides), offset);
  }

  function slice(x, axis = 0, start = 0, end = null, step = 1) {
    const at = place(axis, x.shape.length);
    const size = x.shape[at];
    const inside = (i) => Math.min(Math.max(i < 0 ? i + size : i, 0), size);
    const first = inside(start ?? 0);
    const last = inside(end ?? size);
    const shape = x.shape.slice();
    const strides = x.strides.slice();
    shape[at] = Math.max(0, Math.ceil((last - first) / step));
    strides[at] *= step;
    return view(x.data, shape, strides, x.offset + first * x.strides[at]);
  }

  function permute(x, axes) {
    const at = axes.map((axis) => place(axis, axes.length));
    return view(x.data, at.map((i) => x.shape[i]), at.map((i) => x.strides[i]), x.offset);
  }

  function reshape(x, shape) {
    const values = numbers(x);
    const known = shape.reduce((size, n) => (n === -1 ? size : size * n), 1);
    return full(values, shape.map((n) => (n === -1 ? values.length / known : n)));
  }

  function unsqueeze(x, axis) {
    const at = place(axis, x.shape.length + 1);
    const shape = x.shape.slice();
    const strides = x.strides.slice();
    shape.splice(at, 0, 1);
    strides.splice(at, 0, 0);
    return view(x.data, shape, strides, x.offset);
  }

  function concatenate(parts, axis = 0) {
    const at = place(axis, parts[0].shape.length);
    const shape = parts[0].shape.slice();
    shape[at] = parts.reduce((size, x) => size + x.shape[at], 0);
    const result = full(new Float64Array(sizeOf(shape)), shape);
    let first = 0;
    for (const part of parts) {
      const into = slice(result, at, first, first + part.shape[at]);
      each(part.shape, [part, into], (_, a, b) => {
        result.data[b] = part.data[a];
      });
      first += part.shape[at];
    }
    return result;
  }

  function sum(x, axes, keep = false) {
    const at = axes.map((axis) => place(axis, x.shape.length));
    const shape = x.shape.map((size, i) => (at.includes(i) ? 1 : size));
    const result = full(new Float64Array(sizeOf(shape)), shape);
    const strides = result.strides.map((stride, i) => (at.includes(i) ? 0 : stride));
    each(x.shape, [x, view(result.data, x.shape, strides, 0)], (_, a, b) => {
      result.data[b] += x.data[a];
    });
    return keep ? result : reshape(result, shape.filter((_, i) => !at.includes(i)));
  }

  function take(x, indices) {
    const axis = indices.findIndex((index) => index !== null);
    const several = indices.filter((index) => index !== null);
    if (several.length !== 1) throw new Error("only one axis can be indexed by numbers");
    const parts = several[0].map((i) => unsqueeze(select(x, axis, i), axis));
    return concatenate(parts, axis);
  }

  const OPERATIONS = {
    "acos": onEach(Math.acos),
    "add.Tensor": (x, y, { alpha = 1 } = {}) => add(x, alpha === 1 ? y : times(y, alpha)),
    "addmm": (added, x, y) => product(x, y, added),
    "baddbmm": (added, x, y) => product(x, y, added),
    "bmm": (x, y) => product(x, y),
    "cat": concatenate,
    "clamp": clamp,
    "clamp.Tensor": clamp,
    "cos": onEach(Math.cos),
    "div.Tensor": onPairs((x, y) => x / y),
    "exp2": onEach((x) => 2 ** x),
    "expand": expand,
    "expm1": onEach(Math.expm1),
    "getitem": (list, i) => list[i],
    "index.Tensor": take,
    "mm": (x, y) => product(x, y),
    "mul.Tensor": times,
    "permute": permute,
    "pow.Tensor_Scalar": (x, power) => onEach((value) => value ** power)(x),
    "select.int": select,
    "silu": onEach((x) => x / (1 + Math.exp(-x))),
    "slice.Tensor": slice,
    "sqrt": onEach(Math.sqrt),
    "sub.Tensor": (x, y, { alpha = 1 } = {}) => subtract(x, alpha === 1 ? y : times(y, alpha)),
    "sum.dim_IntList": sum,
    "transpose.int": (x, i, j) => {
      const axes = x.shape.map((_, k) => k);
      const [first, second] = [place(i, axes.length), place(j, axes.length)];
      [axes[first], axes[second]] = [axes[second], axes[first]];
      return permute(x, axes);
    },
    "unbind.int": (x, axis = 0) => {
      const n = x.shape[place(axis, x.shape.length)];
      return Array.from({ length: n }, (_, i) => select(x, axis, i));
    },
    "unsqueeze": unsqueeze,
    "view": reshape,
  };

  /* Constants as views of one buffer of single-precision numbers. */
  function constants(shapes, buffer) {
    const all = new Float32Array(buffer);
    let offset = 0;
    return shapes.map((shape) => {
      const size = sizeOf(shape);
      offset += size;
      return full(all.subarray(offset - size, offset), shape);
    });
  }

  /* The outputs of a program, as plain arrays by name, from one array for each input. */
  function run(program, known, inputs) {
    const results = program.inputs.map((name) =>
      full(Float64Array.from(inputs[name]), [1, inputs[name].length]),
    );
    const value = (x) => {
      if (Array.isArray(x)) return x.map(value);
      if (x === null || typeof x !== "object") return x;
      return "step" in x ? results[x.step] : known[x.constant];
    };
    for (const [name, given, options] of program.steps) {
      const extra = Object.keys(options).length ? [options] : [];
      results.push(OPERATIONS[name](...given.map(value), ...extra));
    }
    const outputs = {};
    for (const [name, x] of Object.entries(program.outputs)) {
      outputs[name] = Array.from(numbers(value(x)));
    }
    return outputs;
  }

  return { constants, run, OPERATIONS: Object.keys(OPERATIONS) };
})();
