"""What the promise rests on, guard by guard: where it is in the code, and the tests that are to miss it."""

from . import Guard

_THE_FILE_ITS_FOLDER_AND = "test_the_file_its_folder_and_those_above_are_on_the_disk_before_the_row_is"
_DURABLE = "test_durable.py"
_WHAT_MUST_SURVIVE_A_POWER = "test_what_must_survive_a_power_cut_is_flushed_and_what_need_not_is_not"
_A_VERB_MOVES_A_PICTURE = (
    "test_a_verb_moves_a_picture_from_its_own_states_with_a_line_of_history_and_does_nothing_in_others"
)
_A_VERB_ON_A_PICTURE = "test_a_verb_on_a_picture_that_moved_on_since_it_was_read_does_nothing"
_ROWS_THAT_CANNOT_BE_ARE = "test_rows_that_cannot_be_are_refused_by_the_database"
_A_PICTURE_IS_READ_FROM = "test_a_picture_is_read_from_its_own_place_alone_as_it_is_sent"
FLUSHES = (
    Guard(
        "flush of a picture's bytes",
        "PictureReader._read",
        """
        parser = ImageParser(file)
        flush(file.fileno())
        """,
        "parser = ImageParser(file)",
        (
            "test_a_picture_is_flushed_before_it_counts_as_taken_in",
            _THE_FILE_ITS_FOLDER_AND,
        ),
        "the camera doesn't flush: a power cut would leave an empty file behind a row",
    ),
    Guard(
        "flush of a picture's folder",
        "Intake._take_in",
        "self._directory_sync.flush({os.path.dirname(taken.path) for taken in final})",
        "{os.path.dirname(taken.path) for taken in final}",
        (_THE_FILE_ITS_FOLDER_AND,),
        "the picture's name would be gone",
    ),
    Guard(
        "flush of the folders above",
        "_with_parents",
        """
        while folder:
            ...
        """,
        """
        while False:
            ...
        """,
        (_THE_FILE_ITS_FOLDER_AND,),
        "the name of a new date's folder would be gone, and all in it",
    ),
    Guard(
        "flush of each folder",
        "DirectorySync._flush",
        "sync_folder(path)",
        "",
        (_THE_FILE_ITS_FOLDER_AND,),
        "the picture's name would be gone",
    ),
    Guard(
        "flush anew of a folder above that changed",
        "DirectorySync._flush",
        "self._flushed.get(folder) == status",
        "folder in self._flushed",
        ("test_what_changed_is_flushed_and_only_that",),
        "the name of a new date's folder would be gone, and all in it",
    ),
    Guard(
        "flush anew of the picture's own folder",
        "DirectorySync._flush",
        "not always and self._flushed.get(folder) == status",
        "self._flushed.get(folder) == status",
        (
            "test_what_changed_is_flushed_and_only_that",
            _THE_FILE_ITS_FOLDER_AND,
        ),
        "a name that came within the same tick of the clock would be gone",
    ),
    Guard(
        "doubt about a folder's times while they are new",
        "DirectorySync._flush",
        "max(status[2:]) / 1000000000.0 <= self._clock() - TIMESTAMP_RESOLUTION",
        "True",
        ("test_what_changed_just_now_is_flushed_until_any_later_change_shows",),
        "a change within the same tick of the clock would be gone",
    ),
    Guard(
        "flush of bytes and names before the row",
        "Intake._take_in",
        "flushed = self._directory_sync.flush({os.path.dirname(taken.path) for taken in final})",
        """
        self._catalog.record(final)
        flushed = self._directory_sync.flush({os.path.dirname(taken.path) for taken in final})
        """,
        (_THE_FILE_ITS_FOLDER_AND,),
        "a row would promise what isn't on the disk yet",
    ),
    Guard(
        "fsync itself",
        "flush",
        "os.fsync",
        "os.fstat",
        (
            "test_a_picture_is_flushed_before_it_counts_as_taken_in",
            _DURABLE,
        ),
        "nothing at all would be flushed",
    ),
    Guard(
        "fsync of folders",
        "sync_folder",
        "flush(descriptor)",
        "",
        (
            _THE_FILE_ITS_FOLDER_AND,
            _DURABLE,
        ),
        "no name would be flushed",
    ),
    Guard(
        "flush of the outbox at each commit",
        "connection:connect",
        "'EXTRA' if durable else 'NORMAL'",
        "'NORMAL'",
        (
            "test_commits_are_flushed_to_the_disk_after_a_claim_too",
            _THE_FILE_ITS_FOLDER_AND,
        ),
        "acknowledged rows would be gone",
    ),
    Guard(
        "return to flushing after a claim",
        "WritableDatabase.writing",
        "self.connection.execute('PRAGMA synchronous = EXTRA')",
        "",
        ("test_commits_are_flushed_to_the_disk_after_a_claim_too",),
        "every receipt after the first claim would be gone",
    ),
    Guard(
        "flush of the receipt",
        "Queue.confirm",
        "self._database.writing()",
        "self._database.writing(durable=False)",
        (_WHAT_MUST_SURVIVE_A_POWER,),
        "the picture would be sent again, and retention have no receipt",
    ),
    Guard(
        "flush of a record",
        "Catalog.record",
        "self._database.writing()",
        "self._database.writing(durable=False)",
        (_WHAT_MUST_SURVIVE_A_POWER,),
        "pictures said to be recorded would not be",
    ),
    Guard(
        "flush of what is said of a picture",
        "WritableDatabase.move",
        "durable: bool = True",
        "durable: bool = False",
        (_WHAT_MUST_SURVIVE_A_POWER,),
        "conflicts, refusals and losses would be forgotten",
    ),
    Guard(
        "flush of a removal before its row",
        "Remover._remove_from",
        "flush(folder)",
        "",
        ("test_a_removal_is_flushed_before_it_is_recorded",),
        "a row would say that a file is gone which is back",
    ),
    Guard(
        "flush of the state folder's name",
        "open_or_make",
        """
        flush(above)
        return open_folder(name, folder=above)
        """,
        "return open_folder(name, folder=above)",
        ("test_a_state_folder_is_made_durably",),
        "the whole outbox would be gone",
    ),
    Guard(
        "flush of an outbox that another user left",
        "_copy",
        """
        target.flush()
        flush(target.fileno())
        """,
        "target.flush()",
        ("test_an_outbox_that_another_user_left_is_copied_durably",),
        "the outbox would be empty",
    ),
    Guard(
        "flush of the name of an outbox that another user left",
        "_take_over",
        """
        os.replace(copy, path)
        sync_folder(os.path.dirname(path))
        """,
        "os.replace(copy, path)",
        ("test_an_outbox_that_another_user_left_is_copied_durably",),
        "it would be the other user's again, and nothing could be written",
    ),
    Guard(
        "flush of the name of a store's file of hashes",
        "_close_to_others",
        "sync_folder(local_dir)",
        "",
        ("test_the_file_of_hashes_has_its_name_on_the_disk_before_the_hashes_count_as_kept",),
        "the hashes would be gone, here and in the users' rows",
    ),
    Guard(
        "flush of a trial's bytes",
        "_write_trial",
        "flush(file)",
        "",
        ("test_a_trial_asks_the_disk_for_the_bytes_and_for_the_name",),
        "a disk that fails as it is written would count as good",
    ),
    Guard(
        "flush of a trial's name",
        "_write_trial",
        """
        try:
            ...
        finally:
            os.close(file)
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
        flush(folder)
        """,
        """
        try:
            ...
        finally:
            os.close(file)
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
        """,
        ("test_a_trial_asks_the_disk_for_the_bytes_and_for_the_name",),
        "a disk that takes no name would count as good",
    ),
    Guard(
        "flush of a stored picture's bytes",
        "write",
        """
        file.flush()
        flush(file.fileno())
        """,
        "file.flush()",
        (_DURABLE,),
        "the store would have a row, and no picture",
    ),
    Guard(
        "flush of a stored picture's name",
        "DiskStorage._place",
        "durable.flush(folder)",
        "",
        (_DURABLE,),
        "the store would have a row, and no picture",
    ),
    Guard(
        "flush of the folders above a new store",
        "make_folders",
        """
        with suppress(FileExistsError):
            ...
        sync_folder(parent)
        """,
        """
        with suppress(FileExistsError):
            ...
        """,
        (_DURABLE,),
        "the store would be gone, and all in it",
    ),
    Guard(
        "flush of a store's new folders",
        "open_or_make",
        """
        flush(above)
        return open_folder(name, folder=above)
        """,
        "return open_folder(name, folder=above)",
        (_DURABLE,),
        "a new device's folder would be gone, and all in it",
    ),
    Guard(
        "flush of a store's new database",
        "ImagesDatabase.__init__",
        "sync_folder(local_dir)",
        "",
        (_DURABLE,),
        "all rows of a new store would be gone",
    ),
    Guard(
        "a stored row after its files",
        "LocalAPI._store",
        """
        with blaming_the_store(self._folder), self._storage.staged(image, blob) as place, self._database.writing():
            held = self._database.find([(image['device'], image['datetime'])]) if unless_held else []
            rows = held or [self._database.insert(image)]
            if not held:
                place()
        """,
        """
        with blaming_the_store(self._folder), self._storage.staged(image, blob) as place:
            with self._database.writing():
                held = self._database.find([(image['device'], image['datetime'])]) if unless_held else []
                rows = held or [self._database.insert(image)]
            if not held:
                place()
        """,
        (
            _DURABLE,
            "test_a_process_killed_at_any_moment_leaves_nothing_that_the_next_does_not_mend",
        ),
        "a row would be there without its picture, and with that the receipt",
    ),
    Guard(
        "flush of a bundle's file",
        "placed",
        """
        os.utime(stream.fileno(), (mtime, mtime))
        flush(stream.fileno())
        """,
        "os.utime(stream.fileno(), (mtime, mtime))",
        (_DURABLE,),
        "a bundle's file would be empty",
    ),
    Guard(
        "flush of a bundle's name",
        "placed",
        """
        try:
            ...
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
        sync_folder(folder)
        """,
        """
        try:
            ...
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
        """,
        (_DURABLE,),
        "a bundle's file would be gone",
    ),
)

RECEIPTS = (
    Guard(
        "md5 of a receipt, when it is judged",
        "outcome_policy:decide",
        "receipt == picture.md5",
        "True",
        ("test_a_receipt_that_is_not_of_these_bytes_is_doubted",),
        "other bytes would count as this picture",
    ),
    Guard(
        "receipts that wait, at the end of a batch",
        "OutcomeRecorder.end_batch",
        """
        self._receipts.settle()
        trouble, self._trouble = (self._trouble, None)
        """,
        "trouble, self._trouble = (self._trouble, None)",
        ("test_a_batch_has_two_steps_and_each_picture_its_receipt",),
        "pictures would stay in hand until the next start",
    ),
    Guard(
        "receipts that wait, before a failure is judged",
        "OutcomeRecorder.record",
        """
        self._receipts.settle()
        self._apply(decision, picture, result)
        """,
        "self._apply(decision, picture, result)",
        ("test_a_failure_after_receipts_ends_no_trouble_that_came_later",),
        "a destination that went away would be taken for one that works",
    ),
    Guard(
        "receipts that wait, before a failure of the whole batch",
        "OutcomeRecorder.record_failure",
        """
        self._receipts.settle()
        if not is_cancelled(error):
            ...
        """,
        """
        if not is_cancelled(error):
            ...
        """,
        ("test_a_client_that_fails_after_receipts_is_in_trouble_though_they_wait_to_be_recorded",),
        "a destination that went away would be taken for one that works",
    ),
    Guard(
        "damage of the outbox before what keeps another worker from its work",
        "Workers.raise_fatal",
        "lambda error: not isinstance(error, OutboxDamagedError)",
        "lambda _: 0",
        ("test_damage_that_one_worker_finds_is_told_before_what_ends_or_keeps_another_from_its_work",),
        "a damaged outbox would never be put aside",
    ),
    Guard(
        "size up to which the servers are meant to take pictures",
        "RemoteAPI._upload",
        "answer.status == TOO_LARGE and len(body) > MAX_SIZE",
        "answer.status == TOO_LARGE",
        ("test_a_status_that_every_picture_gets_empties_no_queue",),
        "a front with a low limit would have every picture rejected",
    ),
    Guard(
        "md5 of a receipt, in the outbox's rules",
        "_PICTURES_TABLE",
        "CHECK (state != 'uploaded' OR receipt_md5 IS md5),",
        "",
        ("test_a_receipt_of_other_bytes_is_a_bug_and_leaves_the_picture_as_it_was",),
        "a bug could make a receipt of anything",
        in_text=True,
    ),
    Guard(
        "md5 of a receipt, as the server gives it",
        "RemoteAPI._receipt",
        "rows[0]['md5'] != image['md5']",
        "False",
        ("test_a_receipt_for_other_bytes_is_no_receipt",),
        "a picture that was damaged on its way would count as stored",
    ),
    Guard(
        "key of a receipt",
        "RemoteAPI._receipt",
        "len(rows) != 1 or key_of(rows[0]) != key_of(image)",
        "len(rows) != 1",
        ("test_an_upload_is_not_stored_because_somebody_answers_200",),
        "another picture's row would count as a receipt",
    ),
    Guard(
        "one row for one picture",
        "RemoteAPI._receipt",
        "len(rows) != 1 or key_of(rows[0]) != key_of(image)",
        "rows and key_of(rows[0]) != key_of(image)",
        ("test_an_upload_is_not_stored_because_somebody_answers_200",),
        "an empty answer would be a receipt",
    ),
    Guard(
        "md5 of what is held",
        "compare",
        "row['md5'] == md5",
        "True",
        (
            "test_a_conflict_says_what_is_held",
            "test_what_is_held_is_not_sent_whatever_its_case",
        ),
        "another picture under the key would count as this one",
    ),
    Guard(
        "md5 of the row, before a removal",
        "_verify",
        "row['md5'] != claim.md5",
        "False",
        ("test_another_md5_in_the_row_is_another_picture",),
        "the only copy would be removed",
    ),
    Guard(
        "size of the stored object, before a removal",
        "StoredObject.is_of",
        "self.size not in (None, claim.size) or self.md5 not in (None, claim.md5)",
        "self.md5 not in (None, claim.md5)",
        ("test_what_is_known_of_an_object_says_whether_it_is_the_picture_or_that_it_cant_be_told",),
        "a picture that was overwritten there would be removed here",
    ),
    Guard(
        "md5 of the stored object, before a removal",
        "StoredObject.is_of",
        "self.size not in (None, claim.size) or self.md5 not in (None, claim.md5)",
        "self.size not in (None, claim.size)",
        ("test_a_stored_object_that_was_overwritten_is_found_behind_a_row_that_says_nothing_of_it",),
        "a picture that was overwritten there would be removed here",
    ),
    Guard(
        "a stored object that is there, before a removal",
        "_verify",
        """
        except FileNotFoundError:
            return Holding.OVERWRITTEN
        """,
        """
        except FileNotFoundError:
            return Holding.ROW_ONLY
        """,
        ("test_a_stored_object_that_was_overwritten_is_found_behind_a_row_that_says_nothing_of_it",),
        "the only copy would be removed",
    ),
    Guard(
        "no removal of what the destination lost",
        "Remover._is_confirmed",
        """
        case Holding.CONFIRMED | Holding.ROW_ONLY:
            ...
        """,
        """
        case Holding.CONFIRMED | Holding.ROW_ONLY | Holding.ABSENT:
            ...
        """,
        ("test_a_sent_picture_stays_where_its_copy_or_its_row_is_in_doubt",),
        "the only copy would be removed",
    ),
    Guard(
        "no removal of what is another picture there",
        "Remover._is_confirmed",
        """
        case Holding.CONFIRMED | Holding.ROW_ONLY:
            ...
        """,
        """
        case Holding.CONFIRMED | Holding.ROW_ONLY | Holding.OTHER:
            ...
        """,
        ("test_a_sent_picture_stays_where_its_copy_or_its_row_is_in_doubt",),
        "the only copy would be removed",
    ),
    Guard(
        "no removal of what was overwritten there",
        "Remover._is_confirmed",
        """
        case Holding.CONFIRMED | Holding.ROW_ONLY:
            ...
        """,
        """
        case Holding.CONFIRMED | Holding.ROW_ONLY | Holding.OVERWRITTEN:
            ...
        """,
        ("test_a_sent_picture_stays_where_its_copy_or_its_row_is_in_doubt",),
        "the only copy would be removed",
    ),
    Guard(
        "no removal for a copy on the picture's own file system",
        "Remover._is_confirmed",
        """
        case Holding.CONFIRMED | Holding.ROW_ONLY:
            ...
        """,
        """
        case Holding.CONFIRMED | Holding.ROW_ONLY | Holding.SAME_DISK:
            ...
        """,
        ("test_nothing_goes_for_a_store_whose_pictures_lie_on_the_card_by_a_mount",),
        "both copies would go with the card, or the only one be removed",
    ),
    Guard(
        "no stored object through a link, before a removal",
        "DiskStorage.open_image",
        "os.stat(name, dir_fd=folder, follow_symlinks=False)",
        "os.stat(name, dir_fd=folder, follow_symlinks=True)",
        ("test_a_link_in_a_stored_pictures_place_is_no_copy_of_it",),
        "a picture would be taken for its own copy",
    ),
    Guard(
        "no folder of a store through a link",
        "open_or_make",
        """
        try:
            return open_folder(name, folder=above)
        except FileNotFoundError:
            if not make:
                raise
        """,
        """
        try:
            return os.open(name, os.O_RDONLY, dir_fd=above)
        except FileNotFoundError:
            if not make:
                raise
        """,
        ("test_no_picture_goes_through_a_link",),
        "a copy would replace the picture itself",
    ),
    Guard(
        "no database of a store through a link",
        "ImagesDatabase.__init__",
        """
        require_plain_database(local_dir, 'database.db')
        is_new = not os.path.exists(path)
        """,
        "is_new = not os.path.exists(path)",
        ("test_no_database_is_opened_through_a_link",),
        "rows would be written to another file",
    ),
    Guard(
        "question before a removal",
        "Remover.remove",
        "self._confirm([picture for picture in pictures if picture.state is State.UPLOADED])",
        "{picture.id for picture in pictures if picture.state is State.UPLOADED}",
        ("test_a_sent_picture_stays_where_its_copy_or_its_row_is_in_doubt",),
        "a receipt of months ago would be enough",
    ),
    Guard(
        "receipt of what may go",
        "RetentionRecords.removable",
        "AND (state != 'uploaded' OR receipt_md5 = md5)",
        "",
        ("test_a_sent_picture_stays_where_its_copy_or_its_row_is_in_doubt",),
        "a damaged row without a receipt could go",
        in_text=True,
    ),
)

STATES = (
    Guard(
        "a state that a verb may leave",
        "WritableDatabase.move",
        """
        connection.execute(
            f"UPDATE pictures SET {assignments} WHERE id = ? AND state IN ({marks})",
            [*changes.values(), picture_id, *states],
        )
        """,
        'connection.execute(f"UPDATE pictures SET {assignments} WHERE id = ?", [*changes.values(), picture_id])',
        (_A_VERB_MOVES_A_PICTURE,),
        "two who work on one picture would overwrite each other's outcome",
    ),
    Guard(
        "states that confirm leaves",
        "Queue.confirm",
        "(State.UPLOADING,)",
        "tuple(State)",
        (
            _A_VERB_ON_A_PICTURE,
            _A_VERB_MOVES_A_PICTURE,
        ),
        "a picture that changed meanwhile would get the old one's receipt",
    ),
    Guard(
        "states that refuse leaves",
        "Queue.refuse",
        "(State.UPLOADING,)",
        "tuple(State)",
        (
            _A_VERB_ON_A_PICTURE,
            _A_VERB_MOVES_A_PICTURE,
        ),
        "an uploaded picture could be rejected",
    ),
    Guard(
        "states that clash leaves",
        "Queue.clash",
        "(State.UPLOADING,)",
        "tuple(State)",
        (
            _A_VERB_ON_A_PICTURE,
            _A_VERB_MOVES_A_PICTURE,
        ),
        "an uploaded picture could be in conflict",
    ),
    Guard(
        "states that release leaves",
        "Queue.release",
        "(State.UPLOADING,)",
        "tuple(State)",
        (
            _A_VERB_ON_A_PICTURE,
            _A_VERB_MOVES_A_PICTURE,
        ),
        "what is settled would be sent again",
    ),
    Guard(
        "states that put_off leaves",
        "Queue.put_off",
        "(State.UPLOADING,)",
        "tuple(State)",
        (
            _A_VERB_ON_A_PICTURE,
            _A_VERB_MOVES_A_PICTURE,
        ),
        "what is settled would be sent again",
    ),
    Guard(
        "states that postpone leaves",
        "Queue.postpone",
        "(State.UPLOADING,)",
        "tuple(State)",
        (
            _A_VERB_ON_A_PICTURE,
            _A_VERB_MOVES_A_PICTURE,
        ),
        "what is settled would be sent again",
    ),
    Guard(
        "states that recheck leaves",
        "Queue.recheck",
        "(State.UPLOADING,)",
        "tuple(State)",
        (
            _A_VERB_ON_A_PICTURE,
            _A_VERB_MOVES_A_PICTURE,
        ),
        "what is settled would be sent again",
    ),
    Guard(
        "states that recover leaves",
        "Queue.recover",
        """
        rows = self._database.rows("SELECT id FROM pictures WHERE state = 'uploading'")
        return sum(
            self._database.move(row["id"], (State.UPLOADING,), State.PENDING, why, {"reason": why}) for row in rows
        )
        """,
        """
        rows = self._database.rows('SELECT id FROM pictures')
        return sum((self._database.move(row['id'], tuple(State), State.PENDING, why, {'reason': why}) for row in rows))
        """,
        (
            _A_VERB_ON_A_PICTURE,
            _A_VERB_MOVES_A_PICTURE,
        ),
        "each start would forget every receipt",
    ),
    Guard(
        "states that reoffer leaves",
        "Queue.reoffer",
        "AND attempts > 0 AND (not_before <= ? OR not_before > ?)",
        "AND (1 OR not_before <= ? OR not_before > ?)",
        (
            _A_VERB_ON_A_PICTURE,
            _A_VERB_MOVES_A_PICTURE,
        ),
        "what is no picture would be sent",
        in_text=True,
    ),
    Guard(
        "states that lose leaves",
        "Catalog.lose",
        "UNSENT",
        "tuple(State)",
        (
            _A_VERB_ON_A_PICTURE,
            _A_VERB_MOVES_A_PICTURE,
        ),
        "an uploaded picture could be called lost",
    ),
    Guard(
        "states that unconfirm leaves",
        "RetentionRecords.unconfirm",
        "(State.UPLOADED,)",
        "tuple(State)",
        (
            _A_VERB_ON_A_PICTURE,
            _A_VERB_MOVES_A_PICTURE,
        ),
        "a rejected picture could be sent",
    ),
    Guard(
        "states that contradict leaves",
        "RetentionRecords.contradict",
        "(State.UPLOADED,)",
        "tuple(State)",
        (
            _A_VERB_ON_A_PICTURE,
            _A_VERB_MOVES_A_PICTURE,
        ),
        "a picture being sent anew could be stopped for ever",
    ),
    Guard(
        "states that mark_removed leaves",
        "RetentionRecords.mark_removed",
        "(picture.state,)",
        "tuple(State)",
        (
            _A_VERB_ON_A_PICTURE,
            _A_VERB_MOVES_A_PICTURE,
        ),
        "a picture that came back meanwhile would be called removed",
    ),
    Guard(
        "states that retry leaves",
        "Queue.retry",
        "picture.state in (State.PENDING, State.CONFLICT)",
        "picture.state not in (State.REJECTED, State.LOST)",
        (
            _A_VERB_ON_A_PICTURE,
            _A_VERB_MOVES_A_PICTURE,
        ),
        "an uploaded picture would be sent again",
    ),
    Guard(
        "a picture being sent is missed, too",
        "Picture.is_missed",
        "(*UNSENT, State.UPLOADING)",
        "UNSENT",
        ("test_one_that_went_while_it_was_being_sent_is_lost_in_the_end",),
        "one that is gone would be in conflict, or due, until all folders are read again",
    ),
    Guard(
        "states that claim takes from",
        "_SENDABLE",
        "state = 'pending' AND present",
        "present",
        (
            "test_what_is_not_due_or_to_be_read_again_is_not_claimed",
            _A_VERB_MOVES_A_PICTURE,
        ),
        "pictures would be claimed twice",
        in_text=True,
    ),
    Guard(
        "no claim of what is away",
        "_SENDABLE",
        "present = 1 AND recheck",
        "recheck",
        ("test_what_is_away_is_not_claimed_until_it_is_back",),
        "pictures of a disk that is away would be looked for again and again",
        in_text=True,
    ),
    Guard(
        "no claim of what is to be read again",
        "_SENDABLE",
        "1 AND recheck = 0",
        "1",
        ("test_what_is_not_due_or_to_be_read_again_is_not_claimed",),
        "bytes that changed would be sent unread",
        in_text=True,
    ),
    Guard(
        "no key claimed twice",
        "Queue._choose",
        "len(chosen) < most and key not in chosen",
        "len(chosen) < most",
        ("test_no_key_is_claimed_twice_at_once_however_it_is_written",),
        "two pictures under one key would be sent at once",
    ),
    Guard(
        "claim of pictures that have no rank",
        "Queue.set_order",
        "WHERE state = 'pending'",
        "WHERE state = 'pending' AND rank IS NOT NULL",
        ("test_pictures_without_a_rank_are_sent_too_and_another_destination_gets_an_even_sample",),
        "they would wait for ever, as nothing else finds them in a spread",
        in_text=True,
    ),
    Guard(
        "few uploads spent on the newest picture",
        "Queue._by_rank",
        "place % NEWEST_EVERY == 0",
        "place % 3 == 0",
        ("test_the_newest_goes_first_and_then_no_more_than_one_in_four_uploads_is_spent_on_the_newest",),
        "the sample would have holes",
    ),
    Guard(
        "rank of the next picture, once one comes before it",
        "Catalog._rank",
        "after is not None",
        "False",
        ("test_ranks_are_the_same_in_whatever_order_pictures_are_taken_in",),
        "after a scan, which begins with the newest, each picture would seem to be wanted first",
    ),
    Guard(
        "key of what is sent as in its name",
        "Queue._due",
        "to_sendable",
        "to_picture",
        ("test_a_picture_is_never_sent_under_another_key_than_its_names",),
        "a damaged row would make another picture of it at the destination",
    ),
    Guard(
        "no record over what is being sent",
        "Catalog._record_one",
        "known.state is State.UPLOADING",
        "False",
        ("test_a_file_that_changes_while_it_is_sent_waits_for_the_outcome",),
        "the new bytes would get the old ones' receipt",
    ),
    Guard(
        "bytes that changed are taken in anew",
        "Catalog._record_again",
        "taken.md5 != known.md5",
        "False",
        ("test_a_sent_file_that_changed_is_taken_in_again_and_its_old_receipt_is_in_the_history",),
        "the new bytes would be taken for the ones that were sent",
    ),
    Guard(
        "conflict with another file here",
        "Catalog._conflict_here",
        "WHERE device = ? AND datetime = ? AND md5 != ? AND NOT",
        "WHERE 0 AND device = ? AND datetime = ? AND md5 != ? AND NOT",
        ("test_another_picture_with_the_key_of_one_that_is_here_is_a_conflict",),
        "both would be sent under one key",
        in_text=True,
    ),
    Guard(
        "known states, in the outbox's rules",
        "_PICTURES_TABLE",
        "CHECK (state IN ('pending', 'uploading', 'uploaded', 'conflict', 'rejected', 'lost')),",
        ",",
        (_ROWS_THAT_CANNOT_BE_ARE,),
        "a picture could be in a state that nobody looks after",
        in_text=True,
    ),
    Guard(
        "a key and md5, in the outbox's rules",
        "_PICTURES_TABLE",
        "OR (device IS NOT NULL AND datetime IS NOT NULL AND md5 IS NOT NULL))",
        "OR (1 OR device IS NOT NULL))",
        (_ROWS_THAT_CANNOT_BE_ARE,),
        "a picture without an md5 could have a receipt without one",
        in_text=True,
    ),
    Guard(
        "known marks, in the outbox's rules",
        "_PICTURES_TABLE",
        "1 CHECK (present IN (0, 1)),",
        "1,",
        (_ROWS_THAT_CANNOT_BE_ARE,),
        "a picture could be neither here nor away, and so never be sent",
        in_text=True,
    ),
    Guard(
        "one row a path, in the outbox's rules",
        "_PICTURES_TABLE",
        "UNIQUE (folder, name),",
        "",
        (_ROWS_THAT_CANNOT_BE_ARE,),
        "one file could be in two states",
        in_text=True,
    ),
    Guard(
        "one row a key, in the store's rules",
        "_IMAGES_TABLE",
        "UNIQUE (device, datetime)",
        "CHECK (1)",
        ("test_storing_without_asking_keeps_to_the_key_and_leaves_the_files_alone",),
        "two pictures could have one key",
        in_text=True,
    ),
    Guard(
        "answers that are forgotten with another destination",
        "Destinations.change",
        "self._forget_answers(f'the destination changed from {before} to {url}', is_here)",
        "0",
        ("test_another_destination_makes_pending_what_the_last_one_answered_and_nothing_else",),
        "a receipt of one destination would count at another",
    ),
)

SENDING = (
    Guard(
        "bytes hashed again as they go out",
        "UploadBody._check",
        "not is_whole or digest.hexdigest() != self._image['md5']",
        "not is_whole",
        ("test_bytes_that_are_not_the_recorded_ones_never_end_the_form",),
        "other bytes than those taken in would be stored",
    ),
    Guard(
        "bytes hashed again as a store takes them",
        "ImageParser.file_blob",
        "md5 != self['md5']",
        "False",
        ("test_bytes_that_changed_since_are_not_given_away",),
        "other bytes than those taken in would be stored",
    ),
    Guard(
        "length of the bytes that go out",
        "FormBody._blocks",
        "not (left or self._read(1))",
        "True",
        ("test_a_file_that_grows_or_shrinks_while_it_is_sent_never_ends_the_form",),
        "a file that grows would be sent as it was",
    ),
    Guard(
        "last bytes held back until all are checked",
        "FormBody._blocks",
        """
        while (block := self._read(min(self._limit.block, left))):
            ...
        self._check(digest, is_whole=not (left or self._read(1)))
        """,
        """
        while (block := self._read(min(self._limit.block, left))):
            ...
        """,
        ("test_bytes_that_are_not_the_recorded_ones_never_end_the_form",),
        "other bytes than those taken in would be stored",
    ),
    Guard(
        "question before a server is sent to",
        "RemoteBatch._refresh",
        "{key_of(row): row for row in self._ask(keys)}",
        "{}",
        ("test_what_is_held_is_not_sent_whatever_its_case",),
        "a refused duplicate overwrites the stored picture",
    ),
    Guard(
        "question before a store takes",
        "LocalAPI._put_if_absent",
        "True",
        "False",
        ("test_one_key_twice_in_one_call_is_stored_once",),
        "the second of two at once would end the batch",
    ),
    Guard(
        "question after a doubtful end",
        "RemoteBatch._clear_up",
        "self._find(picture)",
        "_Answer(self._clock(), None)",
        ("test_a_lost_answer_is_asked_for_and_nothing_is_sent_twice",),
        "a picture that is stored would be sent again",
    ),
    Guard(
        "doubt after every answer but a few",
        "leaves_no_doubt",
        "300 <= answer.status < 400 or answer.status in UNTOUCHED",
        "answer.status != OK",
        ("test_only_what_comes_before_the_storing_leaves_no_doubt",),
        "a picture that is stored behind a front's 502 would be sent again",
    ),
    Guard(
        "wait after a doubtful end",
        "outcome_policy:decide",
        "getattr(error, 'retry_after', None) or DOUBTFUL_WAIT",
        "0.0",
        ("test_a_receipt_that_is_not_of_these_bytes_is_doubted",),
        "a server still at work would get it twice",
    ),
    Guard(
        "wait after an upload that was broken off whole",
        "outcome_policy:decide",
        "Decision(Action.RELEASE, min_wait=DOUBTFUL_WAIT)",
        "Decision(Action.RELEASE)",
        ("test_an_upload_broken_off_after_its_whole_body_is_asked_for_again_in_half_a_minute",),
        "a server still at work would get it twice",
    ),
    Guard(
        "second question before a doubtful picture is sent again",
        "UnclearUploads.wait",
        "0.0 if since is None else max(0.0, since + SECOND_QUESTION_AFTER - asked_at)",
        "0.0",
        ("test_a_picture_whose_end_is_not_known_is_not_sent_again_before_a_second_look",),
        "a server still at work would get it twice",
    ),
    Guard(
        "doubt about a body that went out whole",
        "RemoteBatch._clear_up",
        """
        self._unclear.add(key_of(image), answer.asked_at)
        return _doubtful(picture, end, SECOND_QUESTION_AFTER)
        """,
        "return _doubtful(picture, end, SECOND_QUESTION_AFTER)",
        ("test_a_picture_whose_end_is_not_known_is_not_sent_again_before_a_second_look",),
        "a server still at work would get it twice",
    ),
    Guard(
        "age of an answer, before it is acted on",
        "RemoteBatch._compare_or_send",
        """
        if self._clock() - answer.asked_at > FRESH:
            answer = self._find(picture)
        if answer.row is not None:
            ...
        """,
        """
        if answer.row is not None:
            ...
        """,
        ("test_what_was_held_more_than_a_minute_ago_is_asked_for_again",),
        "what was removed there meanwhile would count as held",
    ),
    Guard(
        "age of an answer, as an upload begins",
        "RemoteAPI._upload.post",
        """
        if not is_fresh():
            raise StaleAnswerError
        answer = self._server.http.post(
            '/_put_new_images', body, token, body.content_type, largest=SHORT_ANSWER, scope=scope
        )
        """,
        """
        answer = self._server.http.post(
            '/_put_new_images', body, token, body.content_type, largest=SHORT_ANSWER, scope=scope
        )
        """,
        ("test_an_answer_that_grew_old_while_a_token_was_got_is_asked_for_again",),
        "what another client stored meanwhile would be overwritten",
    ),
    Guard(
        "age of an answer, within a batch",
        "RemoteBatch._start",
        "self._clock() - self._asked_at > FRESH",
        "False",
        ("test_an_answer_older_than_a_minute_is_asked_for_again",),
        "each picture of a slow batch would be asked for alone",
    ),
    Guard(
        "no body sent again by itself",
        "FormBody.may_repeat",
        "not self.begun",
        "True",
        (
            "test_a_body_that_was_begun_is_not_sent_again",
            "test_it_says_how_much_of_it_was_taken_and_can_be_taken_again",
        ),
        "a picture would be sent twice behind an answer that was lost",
    ),
    Guard(
        "decoding before a picture is sent",
        "ImageParser._parse",
        "decode(jpeg)",
        "(b'', b'', None)",
        ("test_a_whole_file_that_does_not_decode_is_damaged",),
        "a picture that doesn't decode takes a server's worker down",
    ),
    Guard(
        "data that end with the last row",
        "_RecordedFile.ends_with_last_row",
        "self._reads_at_end == 1",
        "True",
        (
            "test_an_end_mark_amid_the_data_is_suspect",
            "test_one_byte_that_is_missing_is_noticed",
            "test_a_foreign_block_amid_the_data_hardly_ever_goes_unnoticed",
        ),
        "the only copy of a picture would go, and nobody would know that a part of it is foreign",
    ),
    Guard(
        "end of a picture's data",
        "_check_end",
        "behind and behind[-1][0] == _END",
        "behind or blob",
        ("test_a_picture_cut_short_at_any_byte_is_damaged",),
        "a picture that is cut short takes a server's worker down",
    ),
    Guard(
        "no picture that is none taken in",
        "Intake._read_file",
        "result.final or self._pending.has_settled(path, fingerprint)",
        "True",
        ("test_a_file_that_is_no_picture_is_rejected_after_a_second_look_a_second_later",),
        "a picture that is still being written would be rejected",
    ),
    Guard(
        "no link followed to a picture",
        "_require_regular",
        "os.stat(name, dir_fd=folder, follow_symlinks=False)",
        "os.stat(name, dir_fd=folder)",
        ("test_what_is_no_file_any_more_when_it_is_read_counts_as_gone_and_is_not_waited_for",),
        "retention would judge a link by what it leads to",
    ),
    Guard(
        "file that changes while it is read",
        "PictureReader._read",
        "fingerprint_of(os.fstat(file.fileno())) != before",
        "False",
        ("test_a_whole_picture_that_changes_while_it_is_read_is_not_settled",),
        "a half-written picture would be recorded",
    ),
    Guard(
        "refusals charged only while others are taken",
        "_decide_on_refusal",
        "picture.refused_after is not None and picture.refused_after < evidence.accepted",
        "picture.refused_after is not None",
        ("test_a_refusal_with_none_taken_since_the_last_is_charged_to_nobody",),
        "a full storage would have every picture rejected",
    ),
    Guard(
        "claims of an earlier process given back",
        "resume",
        "outbox.queue.recover()",
        "0",
        ("test_what_was_being_sent_when_the_last_run_broke_off_is_asked_for_again",),
        "what was being sent at a power cut would never be sent",
    ),
    Guard(
        "a remembered md5 only while the file is as it was",
        "_is_known",
        "entry == (_stamp(path), md5)",
        "entry[1] == md5",
        ("test_a_file_that_changed_is_read_again",),
        "other bytes would count as held",
    ),
)

REMOVING = (
    Guard(
        "bytes of a file, before it is removed",
        "_is_recorded_file",
        "md5(file) == picture.md5",
        "True",
        ("test_a_file_that_isnt_as_it_was_recorded_stays_in_its_place_and_is_looked_at",),
        "a picture that was never sent would be removed",
    ),
    Guard(
        "name of a file that isn't the one, once that is known",
        "Remover._remove_hidden",
        "restore(folder, name) is False",
        "False",
        ("test_a_file_that_isnt_as_it_was_recorded_stays_in_its_place_and_is_looked_at",),
        "a picture would lie hidden until the next scan",
    ),
    Guard(
        "the card that it was on, before it is removed",
        "Remover._remove_file",
        "file_system_id(folder) != picture.file_system",
        "missing is not None and file_system_id(folder) != picture.file_system",
        ("test_a_sent_picture_stays_where_its_copy_or_its_row_is_in_doubt",),
        "another card's picture of this name would be removed",
    ),
    Guard(
        "a picture from its own place, as it is sent",
        "Uploader._item",
        "ImageParser.restore(path, {**fields, **key}, thumbnails.large, thumbnails.mini, opener=opener)",
        "ImageParser.restore(path, {**fields, **key}, thumbnails.large, thumbnails.mini)",
        (_A_PICTURE_IS_READ_FROM,),
        "what a link leads to would be sent",
    ),
    Guard(
        "a picture from its own place, as its thumbnails are made again",
        "Uploader._item",
        """
        with opener() as file:
            parser = ImageParser(file)
        """,
        "parser = ImageParser(path)",
        (_A_PICTURE_IS_READ_FROM,),
        "what a link leads to would be read, and devices opened",
    ),
    Guard(
        "a look before a picture is opened",
        "_open_regular",
        """
        _require_regular(name, folder)
        try:
            ...
        except OSError:
            _require_regular(name, folder)
            raise
        """,
        """
        try:
            ...
        except OSError:
            _require_regular(name, folder)
            raise
        """,
        (_A_PICTURE_IS_READ_FROM,),
        "to open a device may do something",
    ),
    Guard(
        "no success while a file has to stay on its way out",
        "Scanner._report_stuck",
        "self.missed.add(path)",
        "",
        ("test_one_that_cant_have_its_name_back_is_in_every_report_until_it_can",),
        "nobody would be told of a picture that nobody sends",
    ),
    Guard(
        "folders one by one and no link, before something is removed in them",
        "open_at",
        "open_beneath(root, folder)",
        "os.open(os.path.join(image_dir, folder), os.O_RDONLY)",
        ("test_what_lies_behind_a_link_in_the_place_of_a_folder_stays",),
        "files that were never the trap's would be removed",
    ),
    Guard(
        "the card that it was on, before a picture is taken for gone with its folder",
        "Remover._remove_file",
        "file_system_id(folder) != picture.file_system",
        "missing is None and file_system_id(folder) != picture.file_system",
        ("test_what_lies_on_another_disk_than_is_in_its_place_is_never_taken_for_gone",),
        "a card that is out would have its pictures marked, and never removed once it is back",
    ),
    Guard(
        "no name given that another file has",
        "_RENAME_NOREPLACE",
        "1",
        "0",
        ("test_where_another_file_has_the_name_by_now_both_are_kept_and_that_is_said_once",),
        "a new picture would be overwritten with one that was to be removed",
    ),
    Guard(
        "names given back to what a removal left that was broken off",
        "Scanner.candidates",
        """
        found.extend((candidate for path in interrupted for candidate in self._restore(path)))
        return sorted(found, key=_time_in_name, reverse=True)
        """,
        "return sorted(found, key=_time_in_name, reverse=True)",
        ("test_what_a_broken_off_removal_left_gets_its_name_back_at_the_next_scan_and_is_never_lost",),
        "a picture would lie hidden for ever",
    ),
    Guard(
        "no loss of what is on its way out",
        "Absences._is_away",
        "self._scanner.look(path) is not None or self._scanner.is_being_removed(path)",
        "self._scanner.look(path) is not None",
        ("test_what_is_being_removed_just_now_is_left_to_who_does_it_and_is_no_loss",),
        "a file that its owner has removed would be called lost, or away",
    ),
    Guard(
        "the bytes of the other file, before a picture's record ends in that one's",
        "Absences._lose",
        "self._is_here(other) and self._catalog.merge(picture, other)",
        "self._catalog.merge(picture, other)",
        ("test_a_copy_that_was_written_over_makes_up_for_no_picture",),
        "a picture would be gone, and nobody would hear of it",
    ),
    Guard(
        "no picture's record ended in that of a file that is dismissed",
        "Catalog.merge",
        "gone.receipt_md5 is not None or (other.state in TO_LOOK_AT and (not other.needs_attention))",
        "gone.receipt_md5 is not None",
        ("test_the_record_of_a_picture_does_not_end_in_that_of_a_dismissed_file",),
        "a picture that isn't sent would call for no attention",
    ),
    Guard(
        "a receipt, which no other record gets",
        "Catalog.merge",
        "gone.receipt_md5 is not None or (other.state in TO_LOOK_AT and (not other.needs_attention))",
        "other.state in TO_LOOK_AT and (not other.needs_attention)",
        ("test_the_record_of_a_picture_that_moved_on_or_has_a_receipt_does_not_end_in_another",),
        "the evidence that it was sent would be gone",
    ),
    Guard(
        "no loss left untold of a picture that can't be sent under its new name",
        "Catalog.lose",
        "picture.is_no_picture and (not self._was_picture(picture))",
        "picture.is_no_picture",
        ("test_a_picture_that_got_a_name_that_cannot_be_sent_is_lost_once_it_is_gone",),
        "a picture would be gone, and nobody would hear of it",
    ),
    Guard(
        "no name given back while the removal is going on",
        "PendingRemovals.restore",
        """
        if path in self._removing:
            return None
        descriptor = open_at(self._image_dir, folder)
        """,
        "descriptor = open_at(self._image_dir, folder)",
        ("test_what_is_being_removed_just_now_is_left_to_who_does_it_and_is_no_loss",),
        "a scan would disturb the removal",
    ),
    Guard(
        "no removal for a store on the same disk",
        "Retention._obstacle",
        """
        if same:
            ...
        """,
        """
        if False:
            ...
        """,
        ("test_nothing_goes_without_days_or_for_a_store_on_the_same_disk_however_full_it_is",),
        "one disk's failure would take both copies",
    ),
    Guard(
        "no removal unless days are set",
        "Retention._obstacle",
        "self._config.keep_days is None",
        "False",
        ("test_nothing_goes_without_days_or_for_a_store_on_the_same_disk_however_full_it_is",),
        "pictures would go though nobody said so",
    ),
    Guard(
        "days after the upload",
        "RetentionRecords.removable",
        "AND (? IS NULL OR coalesce(uploaded_at,",
        "AND (1 OR ? IS NULL OR coalesce(uploaded_at,",
        ("test_a_picture_goes_when_it_was_kept_for_its_days_after_the_upload_and_no_sooner",),
        "pictures would go too soon",
        in_text=True,
    ),
    Guard(
        "no removal of what is suspect",
        "RetentionRecords.removable",
        "AND (suspect IS NULL OR substr(suspect, 1, ?) = ? OR ?)",
        "AND (1 OR substr(suspect, 1, ?) = ? OR ?)",
        ("test_what_has_no_receipt_or_is_odd_never_goes",),
        "a picture would go that somebody should look at",
        in_text=True,
    ),
    Guard(
        "states that may go",
        "RetentionRecords.removable",
        "state IN ({marks})",
        "(1 OR state IN ({marks}))",
        ("test_what_has_no_receipt_or_is_odd_never_goes",),
        "pictures without a receipt would go",
        in_text=True,
    ),
    Guard(
        "no removal of what is to be read again",
        "RetentionRecords.removable",
        "AND present = 1 AND recheck = 0 AND size IS NOT NULL",
        "AND present = 1 AND size IS NOT NULL",
        ("test_a_sent_picture_stays_where_its_copy_or_its_row_is_in_doubt",),
        "a picture of which it is open what it is would go",
        in_text=True,
    ),
    Guard(
        "no removal of what can't be seen",
        "RetentionRecords.removable",
        "AND present = 1 AND recheck = 0 AND size IS NOT NULL",
        "AND recheck = 0 AND size IS NOT NULL",
        ("test_a_sent_picture_stays_where_its_copy_or_its_row_is_in_doubt",),
        "pictures of a card that is out would be asked for, again and again",
        in_text=True,
    ),
    Guard(
        "a readable folder, before a picture is called lost",
        "Absences._is_away",
        "gone and self._is_readable(os.path.dirname(path), picture.file_system)",
        "gone",
        ("test_an_image_dir_that_is_not_mounted_loses_nothing_and_is_complete_when_it_is_back",),
        "a card that is out would lose every picture",
    ),
    Guard(
        "the card that it was on, before a picture is called lost",
        "Absences._is_readable",
        "self._scanner.file_system(folder) == file_system",
        "True",
        ("test_an_image_dir_that_is_not_mounted_loses_nothing_and_is_complete_when_it_is_back",),
        "the empty mount point of a card that is out would lose every picture",
    ),
    Guard(
        "no state on an empty mount point",
        "prepare_state_dir",
        "inside and (problem := image_dir_problem(image_dir, fstab=fstab)) is not None",
        "False and (problem := image_dir_problem(image_dir, fstab=fstab)) is not None",
        ("test_nothing_is_made_on_an_empty_mount_point",),
        "the card's outbox would be taken for another",
    ),
    Guard(
        "a damaged outbox is kept",
        "put_aside",
        "os.replace(path + suffix, aside + suffix)",
        "os.unlink(path + suffix)",
        ("test_a_file_that_is_no_database_is_put_aside_and_kept",),
        "what only it knew would be gone",
    ),
    Guard(
        "an outbox put aside takes no other's place",
        "put_aside",
        "os.path.lexists(aside)",
        "False",
        ("test_what_was_put_aside_first_is_not_replaced_by_what_is_put_aside_next",),
        "what only it knew would be gone",
    ),
    Guard(
        "a file is not rejected for what the system lacks",
        "read_picture:_unreadable",
        "raise error",
        "",
        ("test_a_file_is_not_rejected_for_want_of_descriptors_or_memory",),
        "a drain would end well, and leave a picture behind as if it were unreadable",
    ),
    Guard(
        "one process on one folder",
        "_lock",
        "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "",
        ("test_one_of_the_two_folders_alone_excludes",),
        "two would send, and remove, the same pictures",
    ),
    Guard(
        "a picture known only to an earlier outbox, and not on the card",
        "ruins",
        "_is_likely(picture) and (not is_here(picture.path))",
        "_is_likely(picture)",
        ("test_maintenance.py",),
        "a damaged outbox's word would count for what can be looked at",
    ),
)

HOLDING = (
    Guard(
        "a hold before each batch",
        "Uploader.step",
        "self._queue.is_held = self._is_held()",
        "self._queue.is_held = False",
        ("test_in_a_hold_nothing_is_sent_and_nobody_is_asked",),
        "a trap would send in the hours in which it must not",
    ),
    Guard(
        "a hold that begins amid a batch",
        "Uploader._record",
        "self._stopping() or self._outcomes.refuses_all or self._hold_begins()",
        "self._stopping() or self._outcomes.refuses_all",
        ("test_a_hold_that_begins_ends_the_batch_after_the_picture_in_hand",),
        "a battery that is low would be emptied by the rest of the batch",
    ),
    Guard(
        "no look at the destination in a hold",
        "Uploader.step",
        "self._first_check is not None and (not self._queue.is_held)",
        "self._first_check is not None",
        ("test_in_a_hold_the_destination_is_not_looked_at_first_either",),
        "the destination would be asked in a hold",
    ),
    Guard(
        "only what a person asked for in a hold",
        "Queue._claimable",
        "' AND urgent = 1' if self.is_held else ''",
        "''",
        ("test_what_a_person_asked_for_is_sent_in_spite_of_a_hold_and_nothing_else",),
        "a retry of one picture would send all",
    ),
    Guard(
        "a hold that outlasts a power cut",
        "Queue.record_hold",
        "self._database.writing()",
        "self._database.writing(durable=False)",
        (_WHAT_MUST_SURVIVE_A_POWER,),
        "after a reboot, a low battery would be emptied",
    ),
    Guard(
        "a hold that outlasts a reboot",
        "Holds.__init__",
        "outbox.hold()",
        "None",
        ("test_a_hold_outlasts_a_reboot_with_its_beginning_and_what_ends_it",),
        "after a reboot, a low battery would be emptied",
    ),
    Guard(
        "a hold recorded only when it changes",
        "Holds.look",
        "hold != before",
        "True",
        ("test_a_hold_is_recorded_and_logged_at_its_beginning_and_its_end_alone",),
        "each picture would wear the card down",
    ),
    Guard(
        "a low battery until the new pictures are seen",
        "Holds.look",
        "battery = 0.0",
        "",
        ("test_a_battery_that_is_not_known_yet_ends_no_hold",),
        "a trap that wakes after a night would send before it knows its battery",
    ),
    Guard(
        "ten points more before a low battery is used again",
        "_by_battery",
        "enough if was_low else below",
        "below",
        ("test_a_low_battery_holds_until_it_has_ten_points_more",),
        "sending would begin and end with each cloud",
    ),
    Guard(
        "a battery that can be full enough",
        "_by_battery",
        "min(100, below + GAIN)",
        "below + GAIN",
        ("test_a_low_battery_holds_until_it_has_ten_points_more",),
        "a hold would never end",
    ),
    Guard(
        "hours by a clock that is set",
        "hold:decide",
        "hold is None and clock_is_set",
        "hold is None",
        ("test_the_hours_are_ignored_while_the_clock_is_not_set",),
        "a trap that begins each day at the same wrong hour might never send",
    ),
    Guard(
        "a beginning that can be",
        "_lasts",
        "previous.since <= now and clock_is_set(previous.since) == clock_is_set(now)",
        "True",
        ("test_a_beginning_that_cannot_be_is_forgotten",),
        "a clock that was set would be reported as a hold of years",
    ),
    Guard(
        "trouble after three days",
        "hold:problems",
        "hold is not None and now - hold.since >= LONG",
        "False",
        ("test_a_hold_that_lasts_three_days_is_trouble",),
        "nobody would hear of a trap that never sends",
    ),
    Guard(
        "a picture that is young enough to know the battery",
        "_of_newest",
        "_percent(newest.metadata.get('bat')) if now - _taken_at(newest) < FRESH * interval else None",
        "_percent(newest.metadata.get('bat'))",
        ("test_a_picture_counts_if_it_is_younger_than_three_intervals",),
        "the battery of last week would hold, or not",
    ),
    Guard(
        "no battery of less than nothing",
        "battery:_percent",
        "0 <= value <= FULL",
        "value <= FULL",
        ("test_the_newest_picture_says_it",),
        "a trap that doesn't know its battery would never send",
    ),
    Guard(
        "no battery that the kernel doesn't know",
        "_of_supply",
        "status == 'Unknown' or _read(folder, 'scope') == 'Device'",
        "False",
        ("test_otherwise_the_kernel_says_it",),
        "a gauge that knows nothing, or a mouse, would keep the trap from sending",
    ),
)

GUARDS = (*FLUSHES, *RECEIPTS, *STATES, *SENDING, *REMOVING, *HOLDING)
