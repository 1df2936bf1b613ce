//! Runs independent jobs: images side by side on the cores of a CPU, batches on a GPU.
//!
//! Burn's CPU kernels run one image on one core far better than one image or batch on all cores (SqueezeNet 1.0 at
//! 224 px, forward and gradient, two cores: 76 ms one image on both, 75-93 ms per image in a batch of 8, 49-52 ms
//! per image two side by side). On a GPU a batch is the unit.

use std::num::NonZero;
use std::sync::Mutex;
use std::thread;

use crate::progress::Progress;
use burn::tensor::Device;
use image::RgbImage;

use crate::device::Kind;
use crate::error::{Error, Result};
use crate::interrupt;

/// How many images a GPU is given at once.
const GPU_BATCH: usize = 32;

/// A CPU job of about this many pixels keeps the cost of starting it small beside its work.
const CPU_PIXELS: usize = 224 * 224;

/// Decides how jobs are run on a device.
#[derive(Clone)]
pub struct Executor {
    kind: Kind,
    device: Device,
    workers: usize,
}

impl Executor {
    /// An executor for a device, with as many workers as there are cores where it is a CPU.
    ///
    /// # Errors
    /// Usage, if this build has no such device.
    pub fn new(kind: Kind) -> Result<Self> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Ok(Self { kind, device: kind.open()?, workers: if kind.is_cpu() { cores } else { 1 } })
    }

    /// The device the jobs run on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What kind of device it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How many images of this size one call of a job should take for a forward pass alone.
    pub fn batch(&self, height: usize, width: usize) -> usize {
        if self.kind.is_cpu() { (CPU_PIXELS / (height * width)).max(1) } else { GPU_BATCH }
    }

    /// How many images one call of a job should optimize together.
    pub fn pictures(&self) -> usize {
        if self.kind.is_cpu() { 1 } else { GPU_BATCH }
    }

    /// Applies a forward pass to images, batches of one size each, and gives the results in order.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub fn run_images<R: Send>(
        &self,
        images: &[&RgbImage],
        bar: &Progress,
        job: impl Fn(&[&RgbImage]) -> Result<Vec<R>> + Sync,
    ) -> Result<Vec<R>> {
        let mut all = Vec::with_capacity(images.len());
        for alike in images.chunk_by(|a, b| a.dimensions() == b.dimensions()) {
            let (w, h) = alike[0].dimensions();
            all.extend(self.run(alike, self.batch(h as usize, w as usize), bar, &job)?);
        }
        Ok(all)
    }

    /// Applies `job` to `jobs` in chunks of `size` and gives the results in order. On a CPU chunks run side by side, each
    /// on a rayon pool of one thread, or of more where there are fewer chunks than cores; on a GPU one after another. The
    /// bar advances by the jobs done.
    ///
    /// # Errors
    /// The first error of any job, or an interruption; chunks that have begun are finished first.
    pub fn run<J: Sync, R: Send>(
        &self,
        jobs: &[J],
        size: usize,
        bar: &Progress,
        job: impl Fn(&[J]) -> Result<Vec<R>> + Sync,
    ) -> Result<Vec<R>> {
        let chunks: Vec<&[J]> = jobs.chunks(size.max(1)).collect();
        let next = Mutex::new(0);
        let done: Mutex<Vec<Option<Vec<R>>>> = Mutex::new(chunks.iter().map(|_| None).collect());
        let failed = Mutex::new(None);
        let work = || {
            loop {
                let i = {
                    let mut next = next.lock().expect("no worker panics while holding it");
                    *next += 1;
                    *next - 1
                };
                if i >= chunks.len() || failed.lock().expect("as above").is_some() {
                    return;
                }
                match interrupt::check().and_then(|()| job(chunks[i])) {
                    Ok(results) => {
                        bar.advance(chunks[i].len() as u64);
                        done.lock().expect("as above")[i] = Some(results);
                    }
                    Err(error) => {
                        failed.lock().expect("as above").get_or_insert(error);
                    }
                }
            }
        };
        if self.kind.is_cpu() {
            let workers = self.workers.min(chunks.len()).max(1);
            let pools = (0..workers)
                .map(|i| (self.workers + i) / workers)
                .map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build())
                .collect::<Result<Vec<_>, _>>()
                .map_err(|e| Error::failure(format!("cannot start a worker thread: {e}")))?;
            thread::scope(|scope| {
                for pool in &pools {
                    scope.spawn(|| pool.install(work));
                }
            });
        } else {
            work();
        }
        if let Some(error) = failed.into_inner().expect("as above") {
            return Err(error);
        }
        let results = done.into_inner().expect("as above");
        Ok(results.into_iter().flatten().flatten().collect())
    }
}
