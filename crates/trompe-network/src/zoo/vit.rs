use crate::op::{Along, Concat, Constant, Gelu, LayerNorm, MatMul, Rearrange, Slice, Softmax};
use crate::{Graph, Op, op};

/// Features of a token, heads of an attention, blocks, and features inside an MLP.
const WIDTH: usize = 96;
const HEADS: usize = 3;
const DEPTH: usize = 4;
const HIDDEN: usize = 192;

/// Channels and strides of the convolutions before the patches.
const STEM: [(usize, usize); 5] = [(24, 2), (48, 2), (48, 1), (WIDTH, 2), (WIDTH, 1)];

/// Patches along a side of an image, of 8 pixels each.
const GRID: usize = 8;

/// A small vision transformer (Dosovitskiy et al., 2021) for 64 px images: 64 patches and a class token, with positions that are
/// learned, four blocks of three heads, and about 470,000 parameters. Patches come out of five convolutions, as in the paper's
/// hybrids: without them transformers take far more images to learn from (Xiao et al., 2021). A stream of tokens is a map of one column, a token a row, the
/// class token first. In a block, `attn.scores` and `attn.pattern` have a channel for each head, its rows what asks and its columns
/// what is asked; `residual` is the stream between attention and MLP, and the block's own name the stream behind it. `head` has a
/// unit for each class, computed from the class token.
pub fn vit_small(classes: usize) -> Graph {
    let tokens = GRID * GRID + 1;
    let linear = |input, output| Op::conv(input, output, 1, 1, 0);
    let norm = || LayerNorm { channels: WIDTH, epsilon: 1e-6 };
    let mut g = Graph::new("vit-small", 3);
    let mut input = 3;
    for (i, (output, stride)) in STEM.into_iter().enumerate() {
        g.then(format!("stem.conv{i}"), Op::conv(input, output, 3, stride, 1).without_bias());
        g.then(format!("stem.bn{i}"), Op::batch_norm(output));
        g.then(format!("stem.relu{i}"), op::Relu);
        input = output;
    }
    g.then("patch_embed.proj", linear(WIDTH, WIDTH));
    let from = [vec![WIDTH], vec![GRID], vec![GRID]];
    let patches = g.then("patch_embed", Rearrange { from, to: [vec![0], vec![1, 2], vec![]] });
    let class = g.push("cls_token", Constant { shape: [WIDTH, 1, 1] }, &[]);
    let stream = g.push("tokens", Concat { along: Along::Rows }, &[&class, &patches]);
    let positions = g.push("pos_embed", Constant { shape: [WIDTH, tokens, 1] }, &[]);
    let mut stream = g.push("embedding", op::Add, &[&stream, &positions]);
    for block in 0..DEPTH {
        let name = |part: &str| format!("blocks.{block}.{part}");
        let normed = g.push(name("norm1"), norm(), &[&stream]);
        // Heads apart: [heads, tokens, features] for what asks and what is gathered, [heads, features, tokens] for what is asked.
        let from = [vec![HEADS, WIDTH / HEADS], vec![tokens], vec![]];
        let [q, k, v] = [("q", [2, 1]), ("k", [1, 2]), ("v", [2, 1])].map(|(part, [rows, columns])| {
            let whole = g.push(name(&format!("attn.{part}")), linear(WIDTH, WIDTH), &[&normed]);
            let to = [vec![0], vec![rows], vec![columns]];
            g.push(name(&format!("attn.{part}_heads")), Rearrange { from: from.clone(), to }, &[&whole])
        });
        let scale = 1.0 / ((WIDTH / HEADS) as f32).sqrt();
        g.push(name("attn.scores"), MatMul { scale }, &[&q, &k]);
        let pattern = g.then(name("attn.pattern"), Softmax { over: Along::Columns });
        g.push(name("attn.gathered"), MatMul::default(), &[&pattern, &v]);
        let from = [vec![HEADS], vec![tokens], vec![WIDTH / HEADS]];
        g.then(name("attn.z"), Rearrange { from, to: [vec![0, 2], vec![1], vec![]] });
        let attended = g.then(name("attn.proj"), linear(WIDTH, WIDTH));
        stream = g.push(name("residual"), op::Add, &[&stream, &attended]);
        g.then(name("norm2"), norm());
        g.then(name("mlp.fc1"), linear(WIDTH, HIDDEN));
        g.then(name("mlp.act"), Gelu { approximate: false });
        let added = g.then(name("mlp.fc2"), linear(HIDDEN, WIDTH));
        stream = g.push(format!("blocks.{block}"), op::Add, &[&stream, &added]);
    }
    g.then("norm", norm());
    g.then("class_token", Slice { start: [0; 3], end: [i64::MAX, 1, i64::MAX], step: [1; 3] });
    g.then("head", linear(WIDTH, classes));
    g
}
